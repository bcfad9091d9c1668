-- An imitation of Lightroom Classic's SDK that checks how it is called.
--
-- Errors are: a function, class or key that the SDK does not have; arguments of a wrong type; writing to the catalogue
-- outside write access; waiting inside it; yielding where Lua cannot yield (a plain pcall); what needs a task outside
-- one; dialogs and progress outside a function context; new globals; parts of Lua that plug-ins do not get.
--
--     local Sdk = dofile("lightroom_sdk.lua")
--     local lr = Sdk.start({ here = FOLDER, plugin = FOLDER, temporary = FOLDER, language = "en" })
--     lr:menu("Denoise.lua"); lr:run(); print(lr:describe())

local HERE = arg and arg[1] or "."
local Check = dofile(HERE .. "/lightroom_check.lua")
local Catalogue = dofile(HERE .. "/lightroom_catalogue.lua")
local Files = dofile(HERE .. "/lightroom_files.lua")
local Interface = dofile(HERE .. "/lightroom_interface.lua")

local Lightroom = {}
Lightroom.__index = Lightroom

local TICK = 0.05 -- seconds

-- Tasks: coroutines that say when they want to go on.

local function wait(lr, what, is_ready)
  lr:needs_task(what)
  if lr.gate then
    error(what .. " inside write access: Lightroom's other writers would wait for it", 3)
  end
  coroutine.yield(is_ready)
end

function Lightroom:needs_task(what)
  if not self.task then
    error(what .. " has to be called from a task", 4)
  end
end

function Lightroom:needs_context(what)
  if not self.task or self.task.contexts == 0 then
    error(what .. " has to be called within a function context of a task", 4)
  end
end

-- What Lightroom does in the background takes a moment: every such call yields, so that a plain pcall around it fails.
function Lightroom:take_a_moment(what)
  self:needs_task(what)
  if not self.gate then
    coroutine.yield(function() return true end)
  end
end

-- As LrTasks.pcall: the function runs in a coroutine of its own, whose yields are passed on.
local function yielding_pcall(func, ...)
  local inner = coroutine.create(func)
  local results = { coroutine.resume(inner, ...) }
  while results[1] and coroutine.status(inner) ~= "dead" do
    coroutine.yield(results[2])
    results = { coroutine.resume(inner) }
  end
  return unpack(results, 1, table.maxn(results))
end

function Lightroom:start_task(func, name)
  table.insert(self.tasks, { thread = coroutine.create(func), is_ready = function() return true end,
    name = name or "?", contexts = 0 })
end

local function resume(lr, task)
  lr.task = task
  local ok, is_ready = coroutine.resume(task.thread)
  lr.task = nil
  if not ok then
    table.insert(lr.failures, task.name .. ": " .. tostring(is_ready))
  end
  task.is_ready = is_ready or function() return true end
end

local function is_any_ready(tasks)
  for _, task in ipairs(tasks) do
    if task.is_ready() then
      return true
    end
  end
  return false
end

-- Run all tasks to their end. `on_tick(lr)` is called in between: what the user does meanwhile.
function Lightroom:run(on_tick)
  while #self.tasks > 0 do
    for _, task in ipairs({ unpack(self.tasks) }) do
      if task.is_ready() then
        resume(self, task)
      end
    end
    for index = #self.tasks, 1, -1 do
      if coroutine.status(self.tasks[index].thread) == "dead" then
        table.remove(self.tasks, index)
      end
    end
    if on_tick then
      on_tick(self)
    end
    if not is_any_ready(self.tasks) then
      os.execute("sleep " .. TICK)
      self.now = self.now + TICK
    end
  end
end

local function tasks_namespace(lr)
  local function execute(line)
    lr.commands = lr.commands + 1
    local status = Files.start(lr, line)
    wait(lr, "LrTasks.execute", function() return status() ~= nil end)
    return status()
  end
  return Check.namespace("LrTasks", {
    startAsyncTask = { "function", "string?", run = function(func, name) lr:start_task(func, name) end },
    canYield = { run = function() return lr.task ~= nil end },
    yield = { run = function() wait(lr, "LrTasks.yield", function() return true end) end },
    sleep = { "number", run = function(seconds)
      local wake = lr.now + seconds
      wait(lr, "LrTasks.sleep", function() return lr.now >= wake end)
    end },
    pcall = { "function", "...", run = function(...)
      lr:needs_task("LrTasks.pcall")
      return yielding_pcall(...)
    end },
    execute = { "string", run = execute },
  })
end

local function end_context(lr, context, ok, message)
  for index = #context.handlers, 1, -1 do
    context.handlers[index](ok, message)
  end
  context.is_over = true
  lr.task.contexts = lr.task.contexts - 1
  if not ok and context.has_error_dialog then
    table.insert(lr.dialogs, { kind = "error", message = tostring(message), info = "", style = "critical" })
  end
end

local function context_namespace(lr)
  local methods = Check.class("LrFunctionContext", {
    addCleanupHandler = { "function", run = function(context, func) table.insert(context.handlers, func) end },
  })
  local function call(func)
    local context = setmetatable({ handlers = {}, is_over = false, has_error_dialog = false }, methods)
    lr.task.contexts = lr.task.contexts + 1
    local ok, message = yielding_pcall(func, context)
    end_context(lr, context, ok, message)
    if not ok and not context.has_error_dialog then
      error(message, 0)
    end
  end
  return Check.namespace("LrFunctionContext", {
    postAsyncTaskWithContext = { "string", "function", run = function(name, func)
      lr:start_task(function() call(func) end, name)
    end },
    callWithContext = { "string", "function", run = function(_, func)
      lr:needs_task("LrFunctionContext.callWithContext")
      call(func)
    end },
  })
end

-- Localisation: "$$$/key=text", found by the key in the language's file, with ^1 to ^9 replaced.

local function read_translations(plugin, language)
  local translations = {}
  local file = io.open(plugin .. "/TranslatedStrings_" .. language .. ".txt", "rb")
  for line in (file and file:read("*a") or ""):gmatch("[^\r\n]+") do
    local key, text = line:match('^"(%$%$%$/[^=]+)=(.*)"$')
    if key then
      translations[key] = text
    end
  end
  return translations
end

local function localizer(translations)
  return function(zstring, ...)
    local key, text = Check.string("LOC", zstring):match("^(%$%$%$/[%w/]+)=(.*)$")
    if not key then
      error("LOC: no ZString: " .. zstring, 2)
    end
    local values = { ... }
    return ((translations[key] or text):gsub("%^(%d)", function(digit)
      local value = values[tonumber(digit)]
      if type(value) ~= "string" and type(value) ~= "number" then
        error("LOC: no text or number for ^" .. digit .. " of " .. key, 0)
      end
      return tostring(value)
    end))
  end
end

-- What plug-ins get of Lua: no os.execute, os.remove, io.popen, dofile.

local GLOBALS = {
  "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "select",
  "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall", "string", "table", "math", "_VERSION",
}
local MAY_BE_NIL = { WIN_ENV = true, MAC_ENV = true }

local function environment(lr, loc)
  local values = {
    LOC = loc, _PLUGIN = { path = lr.plugin, id = "org.rawdenoise.lightroom" },
    io = { open = io.open }, os = { time = os.time, date = os.date, clock = os.clock, tmpname = os.tmpname },
    WIN_ENV = lr.is_windows and true or nil, MAC_ENV = not lr.is_windows and true or nil,
    import = function(name)
      return lr.namespaces[name] or error("import: the imitation has no " .. tostring(name), 2)
    end,
    require = function(name) return lr:require(name) end,
  }
  for _, name in ipairs(GLOBALS) do
    values[name] = _G[name]
  end
  return setmetatable({}, {
    __index = function(_, name)
      if values[name] == nil and not MAY_BE_NIL[name] then
        error("there is no global " .. tostring(name), 2)
      end
      return values[name]
    end,
    __newindex = function(_, name) error("a new global: " .. tostring(name), 2) end,
  })
end

local function load_with(lr, name, values)
  local chunk = assert(loadfile(lr.plugin .. "/" .. name))
  return setfenv(chunk, values)()
end

function Lightroom:require(name)
  if self.loaded[name] == nil then
    local value = load_with(self, name .. ".lua", self.environment)
    self.loaded[name] = value == nil and true or value
  end
  return self.loaded[name]
end

-- Info.lua, in its own poorer environment.
function Lightroom:info()
  return load_with(self, "Info.lua", setmetatable({ string = string, LOC = self.loc }, {
    __index = function(_, name)
      if not MAY_BE_NIL[name] then
        error("Info.lua has no global " .. tostring(name), 2)
      end
    end,
    __newindex = function(_, name) error("Info.lua sets a global: " .. tostring(name), 2) end,
  }))
end

-- Choose a menu item: its file runs anew, what it requires is there already.
function Lightroom:menu(file)
  load_with(self, file, self.environment)
end

-- A table that holds photos and collections of `lr` as JSON, for the tests to look at.
function Lightroom:describe()
  return Check.to_json({
    photos = Catalogue.describe(self.catalog), dialogs = self.dialogs, failures = self.failures,
    commands = self.commands, writes = self.writes, left_in_temporary = Files.list(self.temporary),
    captions = self.captions, fractions = self.fractions, preferences = self.preferences,
  })
end

local Sdk = { Check = Check }

function Sdk.start(options)
  local lr = setmetatable({
    plugin = options.plugin, temporary = options.temporary, is_windows = options.is_windows,
    cmd_exe = options.cmd_exe, preferences = options.preferences or {}, tasks = {}, loaded = {}, failures = {},
    dialogs = {}, captions = {}, fractions = {}, commands = 0, writes = 0, refusals = 0, now = 0,
  }, Lightroom)
  lr.loc = localizer(read_translations(lr.plugin, options.language or "en"))
  lr.environment = environment(lr, lr.loc)
  lr.catalog = Catalogue.new(lr)
  lr.namespaces = {
    LrTasks = tasks_namespace(lr), LrFunctionContext = context_namespace(lr),
    LrApplication = Check.namespace("LrApplication", { activeCatalog = { run = function() return lr.catalog end } }),
  }
  Files.install(lr)
  Interface.install(lr)
  return lr
end

return Sdk
