"""What was done to a picture, said in its XMP packet without losing a byte of what stood there."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr, unescape

from rawdenoise.raw import Provenance

NAMESPACE = "urn:rawdenoise:provenance:1/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_END_OF_HISTORY = "</rdf:Seq></rawdenoise:History>"
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">\n</rdf:RDF></x:xmpmeta>\n'
    '<?xpacket end="w"?>'
)


def with_provenance(packet: bytes, provenance: Provenance, *, former_software: str = "") -> bytes | None:
    """The packet, or a new one if it is empty, with one more entry in its history of denoisings.

    Everything the packet holds is kept as it stands. None if it is no UTF-8 XMP that could be added to.
    """
    try:
        text = packet.rstrip(b"\0").decode("utf-8") or _EMPTY
    except UnicodeDecodeError:
        return None
    entry = _entry(provenance, former_software)
    if _END_OF_HISTORY in text:
        at = text.rindex(_END_OF_HISTORY)
        return (text[:at] + entry + text[at:]).encode("utf-8")
    closings = list(re.finditer(r"</(?:[\w.-]+:)?RDF\s*>", text))
    if not closings:
        return None
    about = re.search(r"\babout\s*=\s*(\"[^\"]*\"|'[^']*')", text)
    description = (
        f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={about[1] if about else chr(34) * 2}'
        f" xmlns:rawdenoise={quoteattr(NAMESPACE)}>"
        f"<rawdenoise:History><rdf:Seq>{entry}{_END_OF_HISTORY}</rdf:Description>\n"
    )
    at = closings[-1].start()
    return (text[:at] + description + text[at:]).encode("utf-8")


def last_provenance(packet: bytes) -> dict[str, str]:
    """Read the newest entry of our history in a packet, by the names it is written with; empty if none."""
    history = packet.decode("utf-8", errors="replace").rpartition(_END_OF_HISTORY)[0]
    entry = history.rpartition("<rdf:li ")[2] if "<rawdenoise:History>" in history else ""
    return {name: unescape(value) for name, value in re.findall(r"<rawdenoise:(\w+)>([^<]*)<", entry)}


def _entry(provenance: Provenance, former_software: str) -> str:
    facts = {
        "Version": provenance.version,
        "Method": provenance.method,
        "Strength": f"{provenance.strength:g}",
        "ModelId": provenance.model_id,
        "ModelDigest": provenance.model_digest,
        "EstimatedGain": "" if provenance.gain_db is None else f"{provenance.gain_db:+.2f} dB",
        "SourceDigest": provenance.source_digest,
        "SourceName": provenance.source_name,
        "Recipe": provenance.recipe,
        "FormerSoftware": former_software,
    }
    said = "".join(
        f"<rawdenoise:{name}>{escape(value)}</rawdenoise:{name}>" for name, value in facts.items() if value
    )
    return f'<rdf:li rdf:parseType="Resource">{said}</rdf:li>'
