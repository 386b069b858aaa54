// The browser asks for an operator's key itself (HTTP Basic), for the document and for what is tried out.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
