"""XMP packets as trees: read from whatever programs write, written in one plain form.

XMP is RDF/XML (ISO 16684-1), and every program that touches a packet writes it anew: properties become
attributes or elements, prefixes and encodings change. So a packet is read by a real parser (expat, of the
standard library) and compared by its names, never by its text. Packets come from strangers: a document type,
and with it every entity, is refused, and size, depth and number of parts are bounded.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
XML = "http://www.w3.org/XML/1998/namespace"
_MAXIMUM_BYTES = 16 << 20  # Lightroom's packets with many brush strokes have a few MB
_MAXIMUM_PARTS = 500_000  # elements and attributes
_MAXIMUM_DEPTH = 100  # levels; Camera Raw's masks have about fifteen
_PREFIXES = {
    RDF: "rdf",
    META: "x",
    XML: "xml",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/sType/ResourceRef#": "stRef",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://darktable.sf.net/": "darktable",
    "urn:rawdenoise:provenance:1/": "rawdenoise",
}
_BYTE_ORDER_MARKS = (  # the longer ones first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0<", "utf-16-be"),
    (b"<\0", "utf-16-le"),
)
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,8}));")
_WRAPPER = re.compile(r"<\?(?:xml|xpacket)\b[^>]*\?>")


class PacketError(Exception):
    """A packet that is no XMP, or none that is safe to read; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """The rdf:RDF of a packet, names as {namespace}local, and the prefixes its writer chose, by namespace."""

    rdf: Element = field(default_factory=lambda: Element(f"{{{RDF}}}RDF"))
    prefixes: Mapping[str, str] = field(default_factory=dict)


def read_packet(packet: bytes) -> Packet:
    """Read a packet, or begin a new one if it is empty.

    UTF-8, UTF-16 and UTF-32 are told apart by their first bytes, with a byte order mark or without. Control
    characters, which XML cannot hold, become blanks, as Adobe's XMP Toolkit reads them.

    Raises:
        PacketError: it is something else, too large, or not safe to read.
    """
    if len(packet) > _MAXIMUM_BYTES:
        raise PacketError("it is too large")
    text = _decode(packet)
    if not text:
        return Packet()
    root, prefixes = _parse(text)
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f".//{{{RDF}}}RDF")
    if rdf is not None:
        return Packet(rdf, prefixes)
    if root.tag.startswith(f"{{{META}}}") and not len(root):
        return Packet()
    raise PacketError("it is no RDF")


def write_packet(packet: Packet) -> bytes:
    """The packet in UTF-8; well-known namespaces get the prefix by which everybody knows them.

    Every description declares the namespaces that it uses, as Adobe's programs write it.
    """
    prefixes = _prefixes_for(packet)
    parts = [
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="{META}">\n'
        f'<rdf:RDF xmlns:rdf="{RDF}">\n'
    ]
    for description in packet.rdf:
        used = _namespaces(description) - {RDF, XML}
        _write(description, prefixes, parts, sorted(used, key=lambda namespace: prefixes[namespace]))
        parts.append("\n")
    parts.append('</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>')
    return "".join(parts).encode("utf-8")


def to_xml_text(text: str) -> str:
    """The text with a blank for every character that XML cannot hold."""
    return _NO_CHARACTER.sub(" ", text)


def _decode(packet: bytes) -> str:
    """The XML of a packet without what is wrapped around it; empty if there is none."""
    packet = packet.lstrip(b"\t\n\r ")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if packet.startswith(mark)), "utf-8")
    unit = int(encoding.split("-")[1]) // 8
    try:
        text = packet[: len(packet) // unit * unit].decode(encoding)
    except UnicodeDecodeError as error:
        raise PacketError(f"it is no {encoding.upper()}") from error
    text = _WRAPPER.sub("", text).strip("\ufeff\0\t\n\r ")
    return to_xml_text(_REFERENCE.sub(_keep_reference, text))


def _keep_reference(reference: re.Match[str]) -> str:
    """A character reference as it stands, or a blank where it is to no character of XML."""
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    return reference[0] if code <= 0x10FFFF and not _NO_CHARACTER.match(chr(code)) else " "


def _parse(text: str) -> tuple[Element, dict[str, str]]:
    """The root element, and the first prefix of every namespace."""
    builder, prefixes = TreeBuilder(), dict[str, str]()
    parser = expat.ParserCreate("utf-8", "}")
    parser.buffer_text = True
    depth, parts = 0, 0

    def refuse(*_: object) -> NoReturn:
        raise PacketError("it has a document type")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, parts
        depth += 1
        parts += 1 + len(attributes)
        if depth > _MAXIMUM_DEPTH or parts > _MAXIMUM_PARTS:
            raise PacketError("it has too many parts")
        builder.start(_qualify(name), {_qualify(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_qualify(name))

    def declare(prefix: str | None, namespace: str | None) -> None:
        prefixes.setdefault(namespace or "", prefix or "")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartNamespaceDeclHandler = declare
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise PacketError(f"it is no XML ({error})") from error
    return builder.close(), prefixes


def _qualify(name: str) -> str:
    """A name as ElementTree spells it: {namespace}local."""
    return "{" + name if "}" in name else name


def _prefixes_for(packet: Packet) -> dict[str, str]:
    """A prefix of its own for every namespace in a packet."""
    prefixes = dict(_PREFIXES)
    used = set(prefixes.values())
    for namespace in sorted(_namespaces(packet.rdf)):
        if namespace not in prefixes:
            wanted = packet.prefixes.get(namespace) or "ns"
            names = (wanted if number == 1 else f"{wanted}{number}" for number in count(1))
            prefixes[namespace] = next(name for name in names if name not in used)
            used.add(prefixes[namespace])
    return prefixes


def _namespaces(element: Element) -> set[str]:
    """The namespaces that an element and all in it use."""
    names = (name for part in element.iter() for name in (part.tag, *part.keys()))
    return {name[1:].rpartition("}")[0] for name in names if name.startswith("{")}


def _write(
    element: Element, prefixes: Mapping[str, str], parts: list[str], declared: Sequence[str] = ()
) -> None:
    """Write an element with all its text, and the declarations of some namespaces."""
    name = _prefix(element.tag, prefixes)
    parts.append(f"<{name}")
    parts += [f" xmlns:{prefixes[namespace]}={_quote(namespace)}" for namespace in declared]
    parts += [f" {_prefix(key, prefixes)}={_quote(value)}" for key, value in element.items()]
    if not len(element) and not element.text:
        parts.append("/>")
        return
    parts.append(f">{_escape(element.text or '')}")
    for child in element:
        _write(child, prefixes, parts)
        parts.append(_escape(child.tail or ""))
    parts.append(f"</{name}>")


def _prefix(name: str, prefixes: Mapping[str, str]) -> str:
    namespace, _, local = name[1:].rpartition("}")
    return f"{prefixes[namespace]}:{local}" if name.startswith("{") else name


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def _quote(text: str) -> str:
    escaped = _escape(text).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
    return f'"{escaped}"'
