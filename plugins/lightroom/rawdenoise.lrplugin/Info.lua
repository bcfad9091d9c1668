-- What Lightroom Classic reads of this plug-in. Only string functions and LOC exist here.

local MENU = {
  {
    title = LOC "$$$/rawdenoise/Menu/Denoise=Denoise Selected Photos",
    file = "Denoise.lua",
    enabledWhen = "photosSelected",
  },
  {
    title = LOC "$$$/rawdenoise/Menu/Train=Train This Camera's Model with Selected Photos...",
    file = "Train.lua",
    enabledWhen = "photosSelected",
  },
  {
    title = LOC "$$$/rawdenoise/Menu/Calibrate=Measure This Camera's Noise with Selected Photos...",
    file = "Calibrate.lua",
    enabledWhen = "photosSelected",
  },
  {
    title = LOC "$$$/rawdenoise/Menu/Settings=Settings...",
    file = "Settings.lua",
  },
}

return {
  LrSdkVersion = 10.0,
  LrSdkMinimumVersion = 6.0, -- photo:applyDevelopSettings
  LrToolkitIdentifier = "org.rawdenoise.lightroom",
  LrPluginName = "rawdenoise",
  LrPluginInfoUrl = "https://github.com/rawdenoise/rawdenoise",
  LrLibraryMenuItems = MENU,
  LrExportMenuItems = MENU,
  LrShutdownApp = "Shutdown.lua",
  LrShutdownPlugin = "Shutdown.lua",
  VERSION = { major = 0, minor = 1, revision = 0 },
}
