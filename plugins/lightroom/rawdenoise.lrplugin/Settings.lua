-- Menu item: the settings, in one dialog.

local LrBinding = import "LrBinding"
local LrDialogs = import "LrDialogs"
local LrFileUtils = import "LrFileUtils"
local LrFunctionContext = import "LrFunctionContext"
local LrPathUtils = import "LrPathUtils"
local LrTasks = import "LrTasks"
local LrView = import "LrView"

local Commands = require "Commands"
local Preferences = require "Preferences"
local Quoting = require "Quoting"
local Scratch = require "Scratch"

local bind = LrView.bind

local function ask_version(settings)
  local folder = Scratch.make()
  if not folder then
    return LOC "$$$/rawdenoise/Job/NoScratch=No temporary folder could be written."
  end
  local output, errors = LrPathUtils.child(folder, "output"), LrPathUtils.child(folder, "errors")
  local words = { unpack(Commands.program(settings)) }
  table.insert(words, "--version")
  local ok, status = LrTasks.pcall(LrTasks.execute, Quoting.line(words, output, errors, WIN_ENV))
  local answer = LrFileUtils.exists(output) and LrFileUtils.readFile(output) or ""
  local complaint = LrFileUtils.exists(errors) and LrFileUtils.readFile(errors) or ""
  LrFileUtils.delete(folder)
  if ok and status == 0 then
    return answer:match("[^\r\n]+") or ""
  end
  return complaint:match("[^\r\n]+") or LOC "$$$/rawdenoise/Settings/NoAnswer=The command did not answer."
end

local function check_command(props)
  props.answer = LOC "$$$/rawdenoise/Settings/Checking=Checking..."
  LrTasks.startAsyncTask(function()
    props.answer = ask_version({ command = props.command })
  end, "rawdenoise check")
end

local function choose_command(props)
  local chosen = LrDialogs.runOpenPanel({
    title = LOC "$$$/rawdenoise/Settings/ChooseCommand=Choose the rawdenoise command",
    canChooseFiles = true,
    canChooseDirectories = false,
    allowsMultipleSelection = false,
  })
  if chosen then
    props.command = chosen[1]
  end
end

local function labelled(f, label, control)
  return f:row({
    spacing = f:label_spacing(),
    f:static_text({ title = label, width = LrView.share("label"), alignment = "right" }),
    control,
  })
end

local function describe_denoising(f)
  return f:group_box({
    title = LOC "$$$/rawdenoise/Settings/Denoising=Denoising",
    fill_horizontal = 1,
    spacing = f:control_spacing(),
    labelled(f, LOC "$$$/rawdenoise/Settings/Strength=Strength in percent:", f:row({
      f:slider({ value = bind "strength", min = 0, max = 100, integral = true }),
      f:edit_field({ value = bind "strength", min = 0, max = 100, precision = 0, width_in_digits = 4 }),
    })),
    labelled(f, LOC "$$$/rawdenoise/Settings/Size=Network:", f:popup_menu({
      value = bind "size",
      items = {
        { title = LOC "$$$/rawdenoise/Settings/Fast=Fast", value = "fast" },
        { title = LOC "$$$/rawdenoise/Settings/Best=Best, up to three times slower", value = "best" },
      },
    })),
    labelled(f, LOC "$$$/rawdenoise/Settings/Model=Model:", f:edit_field({
      value = bind "model", width_in_chars = 24, immediate = true,
      placeholder_string = LOC "$$$/rawdenoise/Settings/ModelHint=the camera's own, else the bundled one",
    })),
    labelled(f, LOC "$$$/rawdenoise/Settings/Pattern=Name of the result:", f:edit_field({
      value = bind "pattern", width_in_chars = 24, immediate = true,
      tooltip = LOC "$$$/rawdenoise/Settings/PatternHint={stem}, {name} and {suffix} are IMG, IMG.NEF and NEF.",
    })),
    labelled(f, LOC "$$$/rawdenoise/Settings/Minutes=Minutes of training:", f:edit_field({
      value = bind "minutes", min = 1, max = 10000, precision = 0, width_in_digits = 6,
    })),
  })
end

local function describe_copying(f)
  return f:group_box({
    title = LOC "$$$/rawdenoise/Settings/Catalogue=In the catalogue",
    fill_horizontal = 1,
    spacing = f:control_spacing(),
    f:checkbox({
      title = LOC "$$$/rawdenoise/Settings/CopyDevelop=Copy the develop settings of the original",
      value = bind "copyDevelop",
    }),
    f:checkbox({
      title = LOC "$$$/rawdenoise/Settings/ResetNoise=but set Lightroom's noise reduction to 0",
      value = bind "resetNoiseReduction",
      enabled = bind "copyDevelop",
    }),
    f:checkbox({
      title = LOC "$$$/rawdenoise/Settings/CopyCollections=Add results to the collections of the original",
      value = bind "copyCollections",
    }),
  })
end

local function describe_command(f, props)
  local noted = Commands.noted()
  local control = noted and f:static_text({ title = table.concat(noted, " "), truncation = "middle", width = 320 })
    or f:row({
      f:edit_field({
        value = bind "command", width_in_chars = 28, immediate = true, placeholder_string = "rawdenoise",
      }),
      f:push_button({
        title = LOC "$$$/rawdenoise/Settings/Choose=Choose...",
        action = function() choose_command(props) end,
      }),
    })
  return f:group_box({
    title = LOC "$$$/rawdenoise/Settings/Command=The rawdenoise command",
    fill_horizontal = 1,
    spacing = f:control_spacing(),
    control,
    f:row({
      f:push_button({
        title = LOC "$$$/rawdenoise/Settings/Check=Check",
        action = function() check_command(props) end,
      }),
      f:static_text({ title = bind "answer", width = 320, truncation = "tail" }),
    }),
  })
end

local function present(context, settings)
  local props = LrBinding.makePropertyTable(context)
  for name, value in pairs(settings) do
    props[name] = value
  end
  props.answer = ""
  local f = LrView.osFactory()
  local verb = LrDialogs.presentModalDialog({
    title = LOC "$$$/rawdenoise/Settings/Title=rawdenoise: Settings",
    otherVerb = LOC "$$$/rawdenoise/Settings/Defaults=Defaults",
    contents = f:column({
      bind_to_object = props,
      spacing = f:dialog_spacing(),
      describe_denoising(f), describe_copying(f), describe_command(f, props),
    }),
  })
  local chosen = {}
  for name in pairs(settings) do
    chosen[name] = props[name]
  end
  return verb, chosen
end

local function trim(settings)
  for name, value in pairs(settings) do
    if type(value) == "string" then
      settings[name] = value:match("^%s*(.-)%s*$")
    end
  end
end

-- Show the dialog until its settings are right, or it is cancelled.
local function edit(context)
  local settings = Preferences.read()
  while true do
    local verb, chosen = present(context, settings)
    if verb == "cancel" then
      return
    elseif verb == "other" then
      settings = Preferences.DEFAULTS
    else
      trim(chosen)
      local mistake = Preferences.find_mistake(chosen)
      if not mistake then
        Preferences.write(chosen)
        return
      end
      LrDialogs.message("rawdenoise", mistake, "warning")
      settings = chosen
    end
  end
end

LrFunctionContext.postAsyncTaskWithContext("rawdenoise settings", function(context)
  LrDialogs.attachErrorDialogToFunctionContext(context)
  edit(context)
end)
