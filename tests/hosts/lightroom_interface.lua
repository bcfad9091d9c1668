-- LrDialogs, LrProgressScope, LrBinding and LrView: what is shown is noted, what is asked is answered by the test.

local HERE = arg and arg[1] or "."
local Check = dofile(HERE .. "/lightroom_check.lua")

local Interface = {}

local VIEW = "bind_to_object tooltip visible fill fill_horizontal fill_vertical height place_horizontal " ..
  "place_vertical width "
local CONTROL = VIEW .. "enabled font size "
local TEXT = CONTROL .. "height_in_lines width_in_chars width_in_digits "
local EDIT = TEXT .. "alignment auto_completion completion immediate increment large_increment max min " ..
  "placeholder_string precision string_to_value text_color validate value value_to_string wraps "
local CONTAINER = VIEW .. "margin margin_bottom margin_left margin_right margin_top place spacing "

local ATTRIBUTES = {
  column = CONTAINER, row = CONTAINER, view = CONTAINER,
  group_box = CONTAINER .. "font title show_title ",
  static_text = TEXT .. "title truncation selectable alignment text_color mouse_down ",
  edit_field = EDIT,
  checkbox = TEXT .. "title value checked_value unchecked_value ",
  popup_menu = TEXT .. "value items value_equal ",
  push_button = TEXT .. "title action ",
  slider = CONTROL .. "value min max integral ",
  spacer = "width height ", separator = "fill_horizontal fill_vertical ",
}
local SPACINGS = { "control_spacing", "dialog_spacing", "label_spacing" }
local CONTAINERS = { column = true, row = true, view = true, group_box = true }

local function make_control(kind)
  return function(_, attributes)
    for name, value in pairs(attributes) do
      if type(name) == "number" then
        assert(CONTAINERS[kind] and type(value) == "table" and value.kind, kind .. ": a child that is no view")
      elseif not (" " .. ATTRIBUTES[kind]):find(" " .. name .. " ", 1, true) then
        error("viewFactory:" .. kind .. " has no " .. name, 2)
      end
    end
    return { kind = kind, attributes = attributes }
  end
end

local function factory()
  local f = {}
  for kind in pairs(ATTRIBUTES) do
    f[kind] = make_control(kind)
  end
  for _, name in ipairs(SPACINGS) do
    f[name] = function() return 8 end
  end
  return setmetatable(f, { __index = function(_, name) error("viewFactory has no " .. name, 2) end })
end

local function visit(view, call)
  call(view)
  for _, child in ipairs(view.attributes) do
    visit(child, call)
  end
end

local function bound_keys(view)
  local keys = {}
  visit(view, function(control)
    for _, value in pairs(control.attributes) do
      if type(value) == "table" and value.bound then
        keys[value.bound] = true
      end
    end
  end)
  return keys
end

-- Press a button of a dialog, by its title.
function Interface.press(view, title)
  local pressed = false
  visit(view, function(control)
    if control.kind == "push_button" and control.attributes.title == title then
      control.attributes.action(control)
      pressed = true
    end
  end)
  assert(pressed, "no button " .. title)
end

local function present(lr, arguments)
  Check.named("LrDialogs.presentModalDialog", { title = "string", contents = "table", actionVerb = "string?",
    cancelVerb = "string?", otherVerb = "string?", resizable = "any?", save_frame = "string?" }, arguments)
  local props = arguments.contents.attributes.bind_to_object
  for key in pairs(bound_keys(arguments.contents)) do
    assert(props[key] ~= nil, "a control is bound to " .. key .. ", which has no value")
  end
  assert(lr.answer, "a dialog that nobody answers: " .. arguments.title)
  return lr.answer(props, arguments.contents)
end

local function dialogs(lr)
  local STYLES = { info = true, warning = true, critical = true }
  local function shown(what)
    lr:needs_context(what)
    assert(not lr.gate, what .. " inside write access")
  end
  return Check.namespace("LrDialogs", {
    attachErrorDialogToFunctionContext = { "LrFunctionContext", run = function(context)
      context.has_error_dialog = true
    end },
    message = { "string", "string?", "string?", run = function(message, info, style)
      shown("LrDialogs.message")
      assert(style == nil or STYLES[style], "LrDialogs.message: " .. tostring(style))
      table.insert(lr.dialogs, { kind = "message", message = message, info = info or "", style = style or "warning" })
    end },
    showBezel = { "string", "number?", run = function(message)
      shown("LrDialogs.showBezel")
      table.insert(lr.dialogs, { kind = "bezel", message = message, info = "", style = "info" })
    end },
    presentModalDialog = { "table", run = function(arguments)
      shown("LrDialogs.presentModalDialog")
      return present(lr, arguments)
    end },
    runOpenPanel = { "table", run = function(arguments)
      Check.named("LrDialogs.runOpenPanel", { title = "string", prompt = "string?", canChooseFiles = "boolean",
        canChooseDirectories = "boolean", allowsMultipleSelection = "boolean", canCreateDirectories = "boolean?",
        fileTypes = "any?", initialDirectory = "string?" }, arguments)
      return lr.chosen and { lr.chosen } or nil
    end },
  })
end

local function progress_class(lr)
  local methods = Check.class("LrProgressScope", {
    setCancelable = { "boolean", run = function(scope, is_cancelable) scope.is_cancelable = is_cancelable end },
    isCanceled = { run = function(scope) return scope.is_canceled end },
    setCaption = { "string", run = function(_, caption) table.insert(lr.captions, caption) end },
    setPortionComplete = { "number", "number?", run = function(_, done, total)
      assert(done >= 0 and done <= (total or 1), "setPortionComplete: " .. done)
      table.insert(lr.fractions, done / (total or 1))
    end },
    done = { run = function(scope) scope.is_done = true end },
  })
  return setmetatable({}, { __call = function(_, arguments)
    lr:needs_context("LrProgressScope")
    Check.named("LrProgressScope", { title = "string?", caption = "string?", functionContext = "LrFunctionContext?",
      parent = "any?", parentEndRange = "number?" }, arguments)
    lr.progress = setmetatable({ is_canceled = false, is_done = false }, methods)
    return lr.progress
  end })
end

local function make_properties(context)
  assert(not context.is_over, "LrBinding.makePropertyTable: its function context is over")
  return {}
end

function Interface.install(lr)
  lr.press = Interface.press
  lr.namespaces.LrDialogs = dialogs(lr)
  lr.namespaces.LrProgressScope = progress_class(lr)
  lr.namespaces.LrBinding = Check.namespace("LrBinding", {
    makePropertyTable = { "LrFunctionContext", run = make_properties },
  })
  lr.namespaces.LrView = Check.namespace("LrView", {
    bind = { "string", run = function(key) return { bound = key } end },
    share = { "string", run = function(name) return { shared = name } end },
    osFactory = { run = factory },
  })
end

return Interface
