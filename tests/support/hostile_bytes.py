"""Hypothesis strategies for hostile bytes, by the grammars of forms, headers, JSON and mails."""

from __future__ import annotations

from hypothesis import strategies as st

MOST = 300_000
"""Bytes of one input: more than any route reads without a key."""
_UNITS = st.sampled_from(
    [
        b";", b"=", b"&", b"%", b"%41", b"a=b&", b"\r\n", b"\n", b"\r\n\r\n", b"--", b"--b\r\n", b"\x00", b"\xff", b'"', b"(",
        b"((((", b"<", b"[", b"{", b",", b'"a":', b"[[[[", b"NaN,", b"1e999,", b'"\\ud800",', b"9" * 40, b"a@b,", b"<a@b>,",
        b" ", b"\t", b"\\", b"=?utf-8?q?", b"name=", b'; name="x', b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        b'Content-Disposition: form-data; name="action"\r\n\r\nstop\r\n', b"Am ", b"On x wrote:\n", b"> ", b"\xed\xa0\x80",
    ]
)  # fmt: skip


@st.composite
def repeated(draw: st.DrawFn, most: int = MOST) -> bytes:
    """A few units, each repeated often: what finds a quadratic parser."""
    content = b""
    for unit, count in draw(st.lists(st.tuples(_UNITS, st.integers(1, 60_000)), min_size=1, max_size=5)):
        content += unit * min(count, (most - len(content)) // len(unit))
    return content


BODIES = st.one_of(repeated(), st.binary(max_size=2_000), st.lists(_UNITS, max_size=200).map(b"".join))
CONTENT_TYPES = st.one_of(
    st.sampled_from(
        [
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=b",
            b'multipart/form-data; boundary="b"',
            b"multipart/form-data",
            b"multipart/form-data; boundary=" + b"b" * 70,
            b"application/json",
            b"message/rfc822",
            b"",
        ]
    ),
    repeated(most=30_000),
).map(lambda value: value.replace(b"\r", b" ").replace(b"\n", b" "))
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"accept", b"cookie", b"authorization", b"user-agent", b"traceparent", b"content-encoding", b"x-forwarded-for",
             b"svix-signature", b"svix-timestamp", b"x-zendesk-webhook-signature-timestamp", b"x-zm-request-timestamp", b"purpose",
             b"content-length", b"x-tenure-clock", b"last-event-id", b"host", b"origin"]
        ),
        st.one_of(repeated(most=14_000), st.sampled_from([b"gzip", b"Basic AAAA", b"Bearer x", b"text/html", b"\xb2", b"9" * 40])),
    ),
    max_size=4,
)  # fmt: skip
MAILS = st.builds(
    lambda fields, body: b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n" + body,
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"To", b"Cc", b"Subject", b"Message-ID", b"References", b"In-Reply-To", b"Content-Type", b"Return-Path",
                 b"Content-Transfer-Encoding", b"Auto-Submitted", b"X-Long", b"From", b"MIME-Version"]
            ),
            st.one_of(
                repeated(most=100_000).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b" ")),
                st.sampled_from([b"multipart/report; boundary=b", b"multipart/mixed; boundary=b", b"text/plain; charset=x",
                                 b"message/rfc822", b"message/delivery-status", b"base64", b"quoted-printable", b"a@example.com"]),
            ),
        ),
        max_size=8,
    ),
    BODIES,
)  # fmt: skip
