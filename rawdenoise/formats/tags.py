"""TIFF, EXIF and DNG tags by their specified names."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """A tag's number in a directory."""

    NewSubfileType = 254
    ImageWidth = 256
    ImageLength = 257
    BitsPerSample = 258
    Compression = 259
    PhotometricInterpretation = 262
    Make = 271
    Model = 272
    StripOffsets = 273
    Orientation = 274
    SamplesPerPixel = 277
    RowsPerStrip = 278
    StripByteCounts = 279
    PlanarConfiguration = 284
    Software = 305
    DateTime = 306
    TileWidth = 322
    TileLength = 323
    TileOffsets = 324
    TileByteCounts = 325
    SubIFDs = 330
    YCbCrSubSampling = 530
    XMP = 700
    CFARepeatPatternDim = 33421
    CFAPattern = 33422
    ExposureTime = 33434
    FNumber = 33437
    ExifIFD = 34665
    GPSInfo = 34853
    ISOSpeedRatings = 34855
    StandardOutputSensitivity = 34865
    RecommendedExposureIndex = 34866
    ISOSpeed = 34867
    ExifVersion = 36864
    DateTimeOriginal = 36867
    FocalLength = 37386
    MakerNote = 37500
    FlashpixVersion = 40960
    ColorSpace = 40961
    PixelXDimension = 40962
    PixelYDimension = 40963
    InteroperabilityIFD = 40965
    BodySerialNumber = 42033
    LensSpecification = 42034
    DNGVersion = 50706
    DNGBackwardVersion = 50707
    UniqueCameraModel = 50708
    CFAPlaneColor = 50710
    CFALayout = 50711
    LinearizationTable = 50712
    BlackLevelRepeatDim = 50713
    BlackLevel = 50714
    BlackLevelDeltaH = 50715
    BlackLevelDeltaV = 50716
    WhiteLevel = 50717
    DefaultScale = 50718
    DefaultCropOrigin = 50719
    DefaultCropSize = 50720
    ColorMatrix1 = 50721
    ColorMatrix2 = 50722
    AsShotNeutral = 50728
    AsShotWhiteXY = 50729
    BaselineExposure = 50730
    BayerGreenSplit = 50733
    CameraSerialNumber = 50735
    LensInfo = 50736
    ChromaBlurRadius = 50737
    AntiAliasStrength = 50738
    DNGPrivateData = 50740
    CalibrationIlluminant1 = 50778
    CalibrationIlluminant2 = 50779
    BestQualityScale = 50780
    RawDataUniqueID = 50781
    OriginalRawFileName = 50827
    ActiveArea = 50829
    MaskedAreas = 50830
    ExtraCameraProfiles = 50933
    NoiseReductionApplied = 50935
    ProfileName = 50936
    ProfileEmbedPolicy = 50941
    PreviewApplicationName = 50966
    PreviewApplicationVersion = 50967
    PreviewSettingsName = 50968
    PreviewSettingsDigest = 50969
    PreviewColorSpace = 50970
    PreviewDateTime = 50971
    RawImageDigest = 50972
    SubTileBlockSize = 50974
    RowInterleaveFactor = 50975
    OpcodeList1 = 51008
    OpcodeList2 = 51009
    OpcodeList3 = 51022
    NoiseProfile = 51041
    NewRawImageDigest = 51111
    RawToPreviewGain = 51112
    CacheBlob = 51113
    CacheVersion = 51114
    ColumnInterleaveFactor = 52547
