-- What the user chose, in Lightroom's preferences for this plug-in.

local LrPrefs = import "LrPrefs"

local Preferences = {}

Preferences.DEFAULTS = {
  strength = 100, -- percent: whole numbers need no decimal point, which is a comma in some languages
  size = "fast",
  model = "",
  pattern = "{stem}_dn",
  copyDevelop = true,
  resetNoiseReduction = true,
  copyCollections = true,
  minutes = 10,
  command = "",
}

-- All settings, as a plain table.
function Preferences.read()
  local stored = LrPrefs.prefsForPlugin()
  local settings = {}
  for name, default in pairs(Preferences.DEFAULTS) do
    local value = stored[name]
    if type(value) ~= type(default) then
      value = default
    end
    settings[name] = value
  end
  return settings
end

function Preferences.write(settings)
  local stored = LrPrefs.prefsForPlugin()
  for name in pairs(Preferences.DEFAULTS) do
    stored[name] = settings[name]
  end
end

local function check_pattern(pattern)
  local fixed = pattern:gsub("{stem}", ""):gsub("{name}", ""):gsub("{suffix}", "")
  if not pattern:find("{stem}", 1, true) and not pattern:find("{name}", 1, true) then
    return LOC "$$$/rawdenoise/Settings/PatternNeedsName=The name pattern needs {stem} or {name}: the file's own name."
  elseif fixed:find('[%c/\\:*?"<>|{}]') then
    return LOC "$$$/rawdenoise/Settings/PatternHolds=The name pattern cannot hold slashes, quotes or : * ? < > | { }."
  end
  return nil
end

local function is_whole(value, least, most)
  return type(value) == "number" and value % 1 == 0 and value >= least and value <= most
end

-- What is wrong with settings, in one line; nil where all is well.
function Preferences.find_mistake(settings)
  if not is_whole(settings.strength, 0, 100) then
    return LOC "$$$/rawdenoise/Settings/BadStrength=The strength is a whole number from 0 to 100."
  elseif not is_whole(settings.minutes, 1, 10000) then
    return LOC "$$$/rawdenoise/Settings/BadMinutes=The minutes of training are a whole number from 1 to 10000."
  elseif settings.model:find("[^%w._-]") then
    return LOC "$$$/rawdenoise/Settings/BadModel=A model's id has only letters, digits, dots, hyphens and underscores."
  elseif settings.command:find('[%c"]') then
    return LOC "$$$/rawdenoise/Settings/BadCommand=The command is the path of one file, without quotes."
  end
  return check_pattern(settings.pattern)
end

return Preferences
