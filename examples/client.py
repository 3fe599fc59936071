#!/usr/bin/env python3
"""A whole krappy client in standard Python: publishes one record, then reads it back.

    python3 examples/client.py 127.0.0.1:9092 greetings hello

docs/PROTOCOL.md explains every byte.
"""
import socket
import struct
import sys

REGISTER_PRODUCER, PUBLISH, REGISTER_CONSUMER, POLL, ERROR = 2, 3, 4, 5, 0xFF
PRODUCER, CONSUMER = 1, 2  # our two streams


def string(text):
    return struct.pack(">H", len(text)) + text.encode()


def frame(code, stream, correlation, body):
    return struct.pack(">IHHII", 12 + len(body), 0x4B52, code, stream, correlation) + body


def receive(connection, wanted):
    """The body of the reply to one request. Replies may overtake one another, so others are passed over."""
    while True:
        size, _, code, stream, correlation = struct.unpack(">IHHII", connection.read(16))
        body = connection.read(size - 12)
        if code == ERROR:
            (length,) = struct.unpack_from(">H", body, 2)
            sys.exit(f"refused: {body[4:4 + length].decode()}")
        if correlation == wanted:
            return body


def varint(data, at):
    shift = result = 0
    while True:
        byte = data[at]
        result |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), at


def records(batches):
    """Offset and value of every record. The CRC-32C of each batch is left unchecked here."""
    at = 0
    while at < len(batches):
        base, length, count = struct.unpack_from(">qi45xi", batches, at)
        inside, at = at + 61, at + 12 + length
        for _ in range(count):
            size, inside = varint(batches, inside)
            end = inside + size
            _, inside = varint(batches, inside + 1)  # past the attributes: the timestamp
            delta, inside = varint(batches, inside)
            key, inside = varint(batches, inside)
            value, inside = varint(batches, inside + max(key, 0))
            yield base + delta, batches[inside:inside + max(value, 0)]
            inside = end


def main(address, topic, message):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as sock, sock.makefile("rb") as replies:
        value = message.encode()  # a record: the broker's clock, no key, the value, no headers
        record = struct.pack(">qiI", -1, -1, len(value)) + value + struct.pack(">H", 0)
        # One write: the publish does not wait for the registration it depends on.
        sock.sendall(frame(REGISTER_PRODUCER, PRODUCER, 1, string(topic) + b"\0")
                     + frame(PUBLISH, PRODUCER, 2, struct.pack(">BiBI", 255, -1, 0, 1) + record))
        _, _, partition, offset, _ = struct.unpack(">BIiqI", receive(replies, 2))
        start = struct.pack(">iBq", partition, 2, offset)  # begin at the offset we were given
        sock.sendall(frame(REGISTER_CONSUMER, CONSUMER, 3, string(topic) + string("") + start)
                     + frame(POLL, CONSUMER, 4, struct.pack(">III", 5000, 1, 1 << 20)))
        body = receive(replies, 4)
        found = dict(records(body[4 + 42:]))  # past the count and the head of the one part
        print(f"{topic}/{partition}@{offset}: {found[offset].decode()}")


main(*sys.argv[1:])
