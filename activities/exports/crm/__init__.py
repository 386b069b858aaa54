"""Tasks shown in a CRM, one module for each; reached only through `port.py`."""
