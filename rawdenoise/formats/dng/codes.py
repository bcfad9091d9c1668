"""Which tags of a source belong where in a DNG, and which do not outlive the former pixels."""

from __future__ import annotations

from rawdenoise.formats.tiff.tags import Code

# How pixels are laid down; all of it changes with the new compression and the new preview.
PIXEL_CODES = {
    *(Code.NewSubfileType, Code.ImageWidth, Code.ImageLength, Code.BitsPerSample, Code.Compression),
    *(Code.PhotometricInterpretation, Code.SamplesPerPixel, Code.PlanarConfiguration, Code.StripOffsets),
    *(Code.RowsPerStrip, Code.StripByteCounts, Code.TileWidth, Code.TileLength, Code.TileOffsets),
    *(Code.TileByteCounts, Code.SubTileBlockSize, Code.RowInterleaveFactor, Code.ColumnInterleaveFactor),
    *(255, 317, 338, 347, *range(512, 522), *range(529, 533)),  # predictor, extra samples, JPEG, YCbCr
    *(52553, 52554, 52555),  # JPEG XL
}
# Digests of pixels that are no longer there, and what LibRaw has applied already.
STALE_CODES = {
    *(Code.RawDataUniqueID, Code.RawImageDigest, Code.NewRawImageDigest, Code.LinearizationTable),
    *(Code.RawToPreviewGain, Code.CacheBlob, Code.CacheVersion),
}
# What a DNG says of noise is said anew, in both directories.
NOISE_CODES = {Code.NoiseProfile, Code.NoiseReductionApplied}
PREVIEW_CODES = {
    *(Code.PreviewApplicationName, Code.PreviewApplicationVersion, Code.PreviewSettingsName),
    *(Code.PreviewSettingsDigest, Code.PreviewColorSpace, Code.PreviewDateTime),
}
POINTER_CODES = {
    *(Code.SubIFDs, Code.ExifIFD, Code.GPSInfo, Code.InteroperabilityIFD, Code.ExtraCameraProfiles),
    Code.BigTableOffsets,
}
BIG_TABLE_CODES = {Code.BigTableDigests, Code.BigTableByteCounts, Code.BigTableGroupIndex}
# What belongs into the directory of the mosaic where a source keeps everything in one directory.
RAW_CODES = {
    *(Code.CFARepeatPatternDim, Code.CFAPattern, Code.CFAPlaneColor, Code.CFALayout, Code.BlackLevel),
    *(Code.BlackLevelRepeatDim, Code.BlackLevelDeltaH, Code.BlackLevelDeltaV, Code.WhiteLevel),
    *(Code.DefaultScale, Code.DefaultCropOrigin, Code.DefaultCropSize, Code.BayerGreenSplit),
    *(Code.ChromaBlurRadius, Code.AntiAliasStrength, Code.BestQualityScale, Code.ActiveArea),
    *(Code.MaskedAreas, Code.OpcodeList1, Code.OpcodeList2, Code.OpcodeList3, 339, 51125),
    *(Code.ProfileGainTableMap, Code.ImageStats),
}
# Lens corrections that darktable and RawTherapee read of raws: Sony's splines of vignetting, chromatic
# aberration and distortion stand in the mosaic's directory, Panasonic's distortion in IFD0, where it has
# another number in a DNG.
SONY_CORRECTIONS = (0x7032, 0x7035, 0x7037)
PANASONIC_DISTORTION, DISTORTION_IN_DNG = 0x0119, 0xF119
# EXIF's own tags, which some cameras put into IFD0.
EXIF_CODES = {
    *(Code.ExposureTime, Code.FNumber, 34850, 34852, Code.ISOSpeedRatings, 34856, 34858),
    *(*range(34864, 34870), *range(36864, 36869), *range(36880, 36883), *range(37121, 37123)),
    *(*range(37377, 37387), 37393, 37396, 37510, *range(37520, 37523), *range(37888, 37894)),
    *(*range(40960, 40965), *range(41483, 41496), *range(41728, 41731), *range(41985, 41997)),
    *(42016, *range(42032, 42038), *range(42080, 42083), 42240),
}
# Of a raw that is no DNG: what IFD0 says of the picture, rather than of how the camera stores it.
PICTURE_CODES = {
    *(270, Code.Make, Code.Model, 282, 283, 296, Code.DateTime, 315, 316, Code.XMP, 18246, 18249),
    *(33432, 33723, 34859, *range(40091, 40096), Code.CameraSerialNumber),
}
RESOLUTION_CODES = {282, 283}
