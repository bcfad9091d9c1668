"""Packets as the programs write them that photographers use between two runs of ours."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_dng import make_capture

from rawdenoise.capture.raw import Metadata, Provenance
from rawdenoise.formats.dng.writer import list_compromises, write_dng
from rawdenoise.formats.metadata import xmp_packet
from rawdenoise.formats.metadata.provenance import Origin, read_origin
from rawdenoise.formats.metadata.source import is_denoised_by_us, read_metadata
from rawdenoise.formats.metadata.xmp import Identity, add_provenance, read_history, read_last_provenance
from rawdenoise.formats.metadata.xmp_packet import PacketError, read_packet, write_packet
from rawdenoise.formats.tiff.reading import bytes_tag
from rawdenoise.formats.tiff.tags import Code

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
OURS = "{urn:rawdenoise:provenance:1/}"
MEDIA = "{http://ns.adobe.com/xap/1.0/mm/}"
RATING = "{http://ns.adobe.com/xap/1.0/}Rating"
RESTORED = "{http://darktable.sf.net/}neural_restore"
CAMERA_RAW = "{http://ns.adobe.com/camera-raw-settings/1.0/}"

DONE = Provenance("1.2.3", "gr2r", 0.75, "model-7", "sha256:abc", source_digest="5eed", recipe="cafe")
IDENTITY = Identity("of-source", "of-document", "of-instance", "image/dng")

EXIFTOOL = """<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.57'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>

 <rdf:Description rdf:about=''
  xmlns:rawdenoise='urn:rawdenoise:provenance:1/'>
  <rawdenoise:History>
   <rdf:Seq>
    <rdf:li rdf:parseType='Resource'>
     <rawdenoise:Method>gr2r</rawdenoise:Method>
     <rawdenoise:ModelId>model-7</rawdenoise:ModelId>
     <rawdenoise:Recipe>cafe</rawdenoise:Recipe>
     <rawdenoise:SourceDigest>5eed</rawdenoise:SourceDigest>
     <rawdenoise:Strength>0.75</rawdenoise:Strength>
     <rawdenoise:Version>1.2.3</rawdenoise:Version>
    </rdf:li>
   </rdf:Seq>
  </rawdenoise:History>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:xmp='http://ns.adobe.com/xap/1.0/'>
  <xmp:Rating>5</xmp:Rating>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
                                        \n<?xpacket end='w'?>"""
EXIV2 = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:rawdenoise="urn:rawdenoise:provenance:1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
   xmp:Rating="5">
   <rawdenoise:History>
    <rdf:Seq>
     <rdf:li
      rawdenoise:Version="1.2.3"
      rawdenoise:Method="gr2r"
      rawdenoise:Strength="0.75"
      rawdenoise:ModelId="model-7"
      rawdenoise:SourceDigest="5eed"
      rawdenoise:Recipe="cafe"/>
    </rdf:Seq>
   </rawdenoise:History>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
LIGHTROOM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:ns1="urn:rawdenoise:provenance:1/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:stRef="http://ns.adobe.com/xap/1.0/sType/ResourceRef#"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
   xmp:Rating="5"
   xmpMM:DocumentID="xmp.did:of-lightroom"
   xmpMM:InstanceID="xmp.iid:of-lightroom"
   xmpMM:OriginalDocumentID="xmp.did:of-camera"
   crs:ProcessVersion="11.0"
   crs:Exposure2012="+0.75"
   crs:LuminanceSmoothing="25"
   crs:ColorNoiseReduction="40"
   dc:format="image/x-canon-cr2">
   <xmpMM:DerivedFrom stRef:documentID="xmp.did:older" stRef:instanceID="xmp.iid:older"/>
   <ns1:History>
    <rdf:Seq>
     <rdf:li>
      <rdf:Description ns1:Version="1.2.3" ns1:Method="gr2r" ns1:Strength="0.75">
       <ns1:ModelId>model-7</ns1:ModelId><ns1:SourceDigest>5eed</ns1:SourceDigest><ns1:Recipe>cafe</ns1:Recipe>
      </rdf:Description>
     </rdf:li>
    </rdf:Seq>
   </ns1:History>
   <crs:MaskGroupBasedCorrections>
    <rdf:Seq>
     <rdf:li><rdf:Description crs:What="Correction" crs:LocalLuminanceNoise="0.5"/></rdf:li>
    </rdf:Seq>
   </crs:MaskGroupBasedCorrections>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
FACTS = {"Version": "1.2.3", "Method": "gr2r", "Strength": "0.75"}
FACTS |= {"ModelId": "model-7", "SourceDigest": "5eed", "Recipe": "cafe"}


def added(packet: bytes, provenance: Provenance = DONE, identity: Identity | None = None) -> bytes:
    written = add_provenance(packet, provenance, identity=identity)
    assert written is not None
    return written


def properties(packet: bytes) -> list[str]:
    """The names of all properties, attributes and elements alike."""
    rdf = read_packet(packet).rdf
    return [
        name
        for description in rdf
        for name in (*description.keys(), *(child.tag for child in description))
        if not name.startswith(f"{{{RDF}}}")
    ]


def value(packet: bytes, name: str) -> str | None:
    for description in read_packet(packet).rdf:
        if name in description.attrib or description.find(name) is not None:
            return description.get(name) or description.findtext(name)
    return None


@pytest.mark.parametrize("packet", [EXIFTOOL, EXIV2, LIGHTROOM], ids=["exiftool", "exiv2", "lightroom"])
def test_the_history_goes_on_whoever_wrote_the_packet_anew(packet: str) -> None:
    assert read_history(packet.encode()) == (FACTS,)
    again = added(packet.encode(), replace(DONE, version="9"))
    assert [entry["Version"] for entry in read_history(again)] == ["1.2.3", "9"]
    assert read_history(again)[0] == FACTS
    assert read_last_provenance(again)["Version"] == "9"
    assert properties(again).count(f"{OURS}History") == 1
    assert value(again, RATING) == "5"


def test_two_histories_become_one() -> None:
    """As earlier versions left them behind when another program had written the packet anew."""
    sequence = (
        f'<n:History><r:Seq xmlns:r="{RDF}"><r:li r:parseType="Resource"><n:Version>{{}}</n:Version></r:li>'
        "</r:Seq></n:History>"
    )
    description = (
        f'<r:Description xmlns:r="{RDF}" xmlns:n="{OURS[1:-1]}" r:about="">{sequence}</r:Description>'
    )
    twice = "".join(description.format(version) for version in (1, 1, 2))
    packet = f'<r:RDF xmlns:r="{RDF}">{twice}</r:RDF>'
    again = added(packet.encode(), replace(DONE, version="3"))
    assert [entry["Version"] for entry in read_history(again)] == ["1", "2", "3"]
    assert properties(again).count(f"{OURS}History") == 1


def test_equal_runs_are_as_many_entries() -> None:
    assert len(read_history(added(added(added(b""))))) == 3


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("marked", [True, False], ids=["with a mark", "bare"])
def test_every_encoding_of_xmp_is_read(encoding: str, marked: bool) -> None:
    text = EXIV2.replace("model-7", "modèle-7") if marked else EXIV2[EXIV2.index("<x:xmpmeta") :]
    packet = text.encode(encoding) + b"\0" * 5  # tags are padded, and not by whole characters
    assert read_history(packet)[0]["SourceDigest"] == "5eed"
    again = added(packet)
    assert len(read_history(again)) == 2
    assert again.decode("utf-8").startswith('<?xpacket begin="\ufeff"')


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0\0",
        f'<rdf:RDF xmlns:rdf="{RDF}"/>'.encode(),
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'.encode(),
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
        b'<?xml version="1.0" encoding="UTF-16"?><x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>',
    ],
)
def test_empty_packets_are_filled(packet: bytes) -> None:
    assert read_last_provenance(added(packet)) == FACTS | {"ModelDigest": "sha256:abc"}


def test_characters_that_xml_cannot_hold_do_not_break_a_packet() -> None:
    strange = Provenance("1\x00.2\x0b", "gr2r", 1.0, "m\ud800")
    entry = read_last_provenance(added(b"", strange))
    assert (entry["Version"], entry["ModelId"]) == ("1 .2", "m")
    assert read_history(added(b"", DONE))
    theirs = EXIV2.replace('ModelId="model-7"', 'ModelId="mo\x0bdel&#x1;-&#55296;7&#233;"')
    assert read_last_provenance(theirs.encode())["ModelId"] == "mo del - 7é"
    ElementTree.fromstring(added(theirs.encode()).decode().split("?>", 1)[1].rsplit("<?", 1)[0])


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"<x/>", "no RDF"),
        ("<x/>".encode("utf-16"), "no RDF"),
        (b"\xff\xfe<\x00", "no XML"),
        (b"caf\xe9", "no UTF-8"),
        (EXIV2.encode()[:600], "no XML"),
        (
            EXIV2.replace("<x:xmpmeta", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x:xmpmeta', 1).encode(),
            "type",
        ),
        (b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r>&b;</r>', "type"),
        (b"<a>" * 101 + b"</a>" * 101, "too many parts"),
    ],
    ids=lambda given: given if isinstance(given, str) else "packet",
)
def test_what_is_no_xmp_or_not_safe_is_refused(packet: bytes, why: str) -> None:
    with pytest.raises(PacketError, match=why):
        read_packet(packet)
    assert add_provenance(packet, DONE) is None
    assert read_history(packet) == ()
    assert read_last_provenance(packet) == {}


def test_packets_beyond_all_measure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmp_packet, "_MAXIMUM_PARTS", 20)
    with pytest.raises(PacketError, match="too many parts"):
        read_packet(b"<a>" + b"<a b='c'/>" * 10 + b"</a>")
    monkeypatch.setattr(xmp_packet, "_MAXIMUM_BYTES", 500)
    with pytest.raises(PacketError, match="too large"):
        read_packet(EXIV2.encode())


@given(st.binary(max_size=60), st.integers(0, len(EXIV2)), st.integers(0, 30))
def test_damage_is_never_fatal(junk: bytes, at: int, gone: int) -> None:
    packet = EXIV2.encode()
    read_history(packet[:at] + junk + packet[at + gone :])
    read_history(junk)


@example({"a": "\n\t\r"}, "a<>&\"'\n\t\r ]é😀")
@given(
    st.dictionaries(st.text("abc", min_size=1), st.text(st.characters(exclude_categories=["Cs", "Cc"]))),
    st.text(st.sampled_from("a<>&\"'\n\t\r ]é😀")),
)
def test_what_is_written_reads_back(attributes: dict[str, str], text: str) -> None:
    packet = read_packet(b"")
    part = ElementTree.SubElement(
        packet.rdf, f"{{{RDF}}}Description", {f"{{u:1}}{k}": v for k, v in attributes.items()}
    )
    ElementTree.SubElement(part, "{u:2}p", {"{http://www.w3.org/XML/1998/namespace}lang": text}).text = text
    (back,) = read_packet(write_packet(packet)).rdf
    back.tail = None
    assert ElementTree.tostring(back) == ElementTree.tostring(part)


def test_prefixes_stay_and_well_known_ones_are_usual() -> None:
    packet = (
        f'<r:RDF xmlns:r="{RDF}" xmlns:odd="u:1"><r:Description r:about="" odd:a="1">'
        '<odd:b xmlns:odd="u:2">2</odd:b></r:Description></r:RDF>'
    )
    written = added(packet.encode()).decode()
    assert f'<rdf:RDF xmlns:rdf="{RDF}">' in written
    assert ' odd:a="1"' in written
    assert "<odd2:b>2</odd2:b>" in written


# ---------------------------------------------------------------- identity and other programs' denoising


def test_an_output_has_ids_of_its_own_and_names_its_parent() -> None:
    packet = added(LIGHTROOM.encode(), identity=IDENTITY)
    assert value(packet, f"{MEDIA}DocumentID") == "xmp.did:of-document"
    assert value(packet, f"{MEDIA}InstanceID") == "xmp.iid:of-instance"
    assert value(packet, f"{MEDIA}OriginalDocumentID") == "xmp.did:of-camera"
    (derived,) = read_packet(packet).rdf.iterfind(f"*/{MEDIA}DerivedFrom")
    assert [child.text for child in derived] == [
        "xmp.did:of-lightroom", "xmp.iid:of-lightroom", "xmp.did:of-camera",
    ]  # fmt: skip
    assert value(packet, "{http://purl.org/dc/elements/1.1/}format") == "image/dng"
    assert len(properties(packet)) == len(set(properties(packet)))


def test_a_source_without_ids_gets_one_by_its_content() -> None:
    packet = added(b"", identity=IDENTITY)
    assert value(packet, f"{MEDIA}OriginalDocumentID") == "xmp.did:of-source"
    (derived,) = read_packet(packet).rdf.iterfind(f"*/{MEDIA}DerivedFrom")
    assert derived[0].text == "xmp.did:of-source"
    assert value(packet, "{http://purl.org/dc/elements/1.1/}format") is None


def test_nobody_smooths_what_was_denoised() -> None:
    packet = added(LIGHTROOM.encode())
    assert value(packet, f"{CAMERA_RAW}LuminanceSmoothing") == "0"
    assert value(packet, f"{CAMERA_RAW}ColorNoiseReduction") == "0"
    assert value(packet, f"{CAMERA_RAW}Exposure2012") == "+0.75"
    masks = [part.get(f"{CAMERA_RAW}LocalLuminanceNoise") for part in read_packet(packet).rdf.iter()]
    assert [mask for mask in masks if mask is not None] == ["0"]
    assert value(packet, RESTORED) == "raw-denoise"


@pytest.mark.parametrize("stated", [None, "raw-denoise", "something else"])
def test_at_strength_0_all_of_that_stays(stated: str | None) -> None:
    text = LIGHTROOM
    if stated is not None:
        text = text.replace(
            "crs:Proc", f'd:neural_restore="{stated}" xmlns:d="http://darktable.sf.net/" crs:Proc'
        )
    packet = added(text.encode(), replace(DONE, strength=0.0))
    assert value(packet, f"{CAMERA_RAW}LuminanceSmoothing") == "25"
    assert value(packet, f"{CAMERA_RAW}ColorNoiseReduction") == "40"
    assert value(packet, RESTORED) == stated


# ---------------------------------------------------------------- in files


def capture_with(packet: bytes) -> Metadata:
    return Metadata(root={Code.XMP: bytes_tag(packet)})


def test_a_damaged_packet_is_kept_as_it_is_and_that_is_said(tmp_path: Path) -> None:
    image = replace(make_capture(), metadata=capture_with(b"caf\xe9"))
    write_dng(image, tmp_path / "a.dng", provenance=DONE)
    assert read_metadata(tmp_path / "a.dng").root[Code.XMP].data == b"caf\xe9"
    assert any("XMP" in note for note in list_compromises(image))


@pytest.mark.parametrize(
    "command",
    [("exiftool", "-q", "-overwrite_original", "-XMP:Rating=5"), ("exiv2", "-Mset Xmp.xmp.Rating 5")],
    ids=["exiftool", "exiv2"],
)
def test_a_rated_output_is_still_known_and_denoised_with_one_history(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    first, second = tmp_path / "first.dng", tmp_path / "second.dng"
    write_dng(make_capture(), first, provenance=DONE)
    subprocess.run([*command, first], check=True, capture_output=True)
    assert read_origin(first) == Origin("5eed", "cafe", "model-7")
    rated = read_metadata(first)
    assert is_denoised_by_us(rated, first)
    image = replace(make_capture(), metadata=rated)
    write_dng(image, second, provenance=replace(DONE, version="9"))
    packet = read_metadata(second).root[Code.XMP].data
    assert [entry["Version"] for entry in read_history(packet)] == ["1.2.3", "9"]
    assert value(packet, RATING) == "5"
    if shutil.which("exiv2"):
        read = subprocess.run(["exiv2", "-px", second], check=True, capture_output=True)
        assert read.stderr == b""
        assert b"Xmp.xmp.Rating" in read.stdout
        assert read.stdout.count(b"Xmp.rawdenoise.History ") == 1
