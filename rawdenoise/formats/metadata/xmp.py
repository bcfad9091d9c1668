"""What was done to a picture, said in its XMP packet without losing anything that stood there."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from rawdenoise.capture.raw import Provenance
from rawdenoise.formats.metadata.xmp_packet import RDF, PacketError, read_packet, to_xml_text, write_packet

NAMESPACE = "urn:rawdenoise:provenance:1/"
_MEDIA = "{http://ns.adobe.com/xap/1.0/mm/}"
_REFERENCE = "{http://ns.adobe.com/xap/1.0/sType/ResourceRef#}"
_CAMERA_RAW = "{http://ns.adobe.com/camera-raw-settings/1.0/}"
_LENS = "{http://ns.adobe.com/exif/1.0/aux/}"
_TIFF = "{http://ns.adobe.com/tiff/1.0/}"
_FORMAT = "{http://purl.org/dc/elements/1.1/}format"
_RESTORED = "{http://darktable.sf.net/}neural_restore"
_HISTORY = f"{{{NAMESPACE}}}History"
_RDF = f"{{{RDF}}}"
_PARSE_TYPE, _ABOUT = f"{_RDF}parseType", f"{_RDF}about"
# Amounts by which Adobe's programs would smooth the picture once more.
_SMOOTHINGS = {
    *(_CAMERA_RAW + "LuminanceSmoothing", _CAMERA_RAW + "ColorNoiseReduction"),
    *(_CAMERA_RAW + "LocalLuminanceNoise", _CAMERA_RAW + "EnhanceDenoise"),
    *(_CAMERA_RAW + "EnhanceDenoiseLumaAmount", _LENS + "EnhanceDenoiseLumaAmount"),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an output is: ids (UUIDs) of the source's content, of the document made of it and of this file.

    `media_type` is the output's, which takes the place of the source's where the packet states that.
    """

    source: str
    document: str
    instance: str
    media_type: str


def add_provenance(
    packet: bytes, provenance: Provenance, *, former_software: str = "", identity: Identity | None = None
) -> bytes | None:
    """The packet, or a new one if it is empty, with one more entry in its one history of denoisings.

    All properties of the packet stay, but for those that would be wrong of the output: its ids, and where it
    was denoised the amounts by which Camera Raw would denoise again. None if the packet cannot be read.
    """
    try:
        read = read_packet(packet)
    except PacketError:
        return None
    entries = [*_entries(read.rdf), _make_entry(provenance, former_software)]
    home = _home(read.rdf)
    _drop(read.rdf, _HISTORY)
    sequence = SubElement(SubElement(home, _HISTORY), f"{_RDF}Seq")
    sequence.extend(entries)
    if identity is not None:
        _identify(read.rdf, home, identity)
    if provenance.largest_strength > 0:
        _forestall_smoothing(read.rdf, home)
    return write_packet(read)


def is_readable(packet: bytes) -> bool:
    """Whether a packet is XMP to which a history can be added."""
    try:
        read_packet(packet)
    except PacketError:
        return False
    return True


def read_history(packet: bytes) -> tuple[dict[str, str], ...]:
    """Read our history in a packet, the oldest entry first, by the names it is written with; empty if none.

    Whatever program has written the packet since: entries may hold their facts as elements or as attributes.
    """
    try:
        rdf = read_packet(packet).rdf
    except PacketError:
        return ()
    return tuple(_facts(entry) for entry in _entries(rdf))


def read_last_provenance(packet: bytes) -> dict[str, str]:
    """Read the newest entry of our history in a packet, by the names it is written with; empty if none."""
    entries = read_history(packet)
    return entries[-1] if entries else {}


# ---------------------------------------------------------------- history


def _make_entry(provenance: Provenance, former_software: str) -> Element:
    facts = {
        "Version": provenance.version,
        "Method": provenance.method,
        "Strength": f"{provenance.strength:g}",
        "ChromaStrength": "" if provenance.chroma_strength is None else f"{provenance.chroma_strength:g}",
        "ModelId": provenance.model_id,
        "ModelDigest": provenance.model_digest,
        "EstimatedGain": "" if provenance.gain_db is None else f"{provenance.gain_db:+.2f} dB",
        "SourceDigest": provenance.source_digest,
        "SourceName": provenance.source_name,
        "Recipe": provenance.recipe,
        "FormerSoftware": former_software,
    }
    entry = Element(f"{_RDF}li", {_PARSE_TYPE: "Resource"})
    for name, value in facts.items():
        if value:
            SubElement(entry, f"{{{NAMESPACE}}}{name}").text = to_xml_text(value)
    return entry


def _entries(rdf: Element) -> list[Element]:
    """The entries of all our histories: other programs once left two, or two copies of one."""
    entries: list[Element] = []
    known: set[frozenset[tuple[str, str]]] = set()
    for sequence in (child for former in rdf.iterfind(f"*/{_HISTORY}") for child in former):
        pairs = [(entry, frozenset(_facts(entry).items())) for entry in sequence]
        entries += [entry for entry, facts in pairs if facts not in known]
        known |= {facts for _, facts in pairs}
    return entries


def _facts(entry: Element) -> dict[str, str]:
    """What an entry says: as attributes, as elements, or either within an rdf:Description."""
    facts = dict[str, str]()
    for part in entry.iter():
        stated = [*part.items(), (part.tag, (part.text or "").strip())]
        facts |= {name.removeprefix(f"{{{NAMESPACE}}}"): value for name, value in stated if _is_ours(name)}
    return facts


def _is_ours(name: str) -> bool:
    return name.startswith(f"{{{NAMESPACE}}}")


# ---------------------------------------------------------------- properties


def _home(rdf: Element) -> Element:
    """The description that properties are added to: the first one, or a new one."""
    description = rdf.find(f"{_RDF}Description")
    return SubElement(rdf, f"{_RDF}Description", {_ABOUT: ""}) if description is None else description


def _value(rdf: Element, name: str) -> str:
    """A simple property, be it an attribute or an element; empty if it is not stated."""
    for description in rdf:
        if name in description.attrib:
            return description.attrib[name].strip()
        child = description.find(name)
        if child is not None:
            return (child.text or child.findtext(f"{_RDF}value") or "").strip()
    return ""


def _drop(rdf: Element, name: str) -> None:
    """Take a property away, if it is there."""
    for description in rdf:
        description.attrib.pop(name, None)
        for child in description.findall(name):
            description.remove(child)


def _state(rdf: Element, home: Element, name: str, value: str) -> None:
    """State a simple property, once, whatever was said of it before."""
    _drop(rdf, name)
    SubElement(home, name).text = to_xml_text(value)


def _identify(rdf: Element, home: Element, identity: Identity) -> None:
    """Give the output ids of its own and say whose descendant it is (XMP Specification Part 2, xmpMM)."""
    parent = _value(rdf, f"{_MEDIA}DocumentID") or f"xmp.did:{identity.source}"
    instance = _value(rdf, f"{_MEDIA}InstanceID") or f"xmp.iid:{identity.source}"
    original = _value(rdf, f"{_MEDIA}OriginalDocumentID") or parent
    _state(rdf, home, f"{_MEDIA}OriginalDocumentID", original)
    _state(rdf, home, f"{_MEDIA}DocumentID", f"xmp.did:{identity.document}")
    _state(rdf, home, f"{_MEDIA}InstanceID", f"xmp.iid:{identity.instance}")
    _drop(rdf, f"{_MEDIA}DerivedFrom")
    derived = SubElement(home, f"{_MEDIA}DerivedFrom", {_PARSE_TYPE: "Resource"})
    for name, value in (("documentID", parent), ("instanceID", instance), ("originalDocumentID", original)):
        SubElement(derived, _REFERENCE + name).text = value
    if _value(rdf, _FORMAT):
        _state(rdf, home, _FORMAT, identity.media_type)
    if identity.media_type == "image/tiff" and _value(rdf, f"{_TIFF}Orientation"):  # a rendering is upright
        _state(rdf, home, f"{_TIFF}Orientation", "1")


def _forestall_smoothing(rdf: Element, home: Element) -> None:
    """Say that the raw is denoised: to darktable 5.6 and later, and to Camera Raw in its own settings.

    Those stand in the packet itself, in its snapshots and looks, and for parts of the picture in its masks.
    """
    _state(rdf, home, _RESTORED, "raw-denoise")
    for part in rdf.iter():
        for name in _SMOOTHINGS.intersection(part.keys()):
            part.set(name, _nullify(part.get(name, "")))
        if part.tag in _SMOOTHINGS and not len(part):
            part.text = _nullify(part.text or "")


def _nullify(amount: str) -> str:
    return "False" if amount.strip().lower() in ("true", "false") else "0"
