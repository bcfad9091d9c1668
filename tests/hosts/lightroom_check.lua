-- Arguments held to the types that the SDK's reference gives them, and values as JSON.

local Check = {}

local function type_of(value)
  local class = type(value) == "table" and rawget(getmetatable(value) or {}, "class_name")
  return class or type(value)
end

local function fits(value, wanted)
  if wanted:sub(-1) == "?" then
    return value == nil or fits(value, wanted:sub(1, -2))
  end
  for kind in wanted:gmatch("[^|]+") do
    if kind == "any" or type_of(value) == kind then
      return true
    end
  end
  return false
end

local function check_arguments(name, wanted, arguments, count)
  local is_open = wanted[#wanted] == "..."
  if count > #wanted and not is_open then
    error(string.format("%s: %d arguments, it takes %d", name, count, #wanted), 4)
  end
  for index, kind in ipairs(wanted) do
    if kind ~= "..." and not fits(arguments[index], kind) then
      error(string.format("%s: argument %d is a %s, not a %s", name, index, type_of(arguments[index]), kind), 4)
    end
  end
end

-- A function of `spec`: its argument types, and `run`.
local function checked(name, spec)
  return function(...)
    check_arguments(name, spec, { ... }, select("#", ...))
    return spec.run(...)
  end
end

local function unknown(name)
  return function(_, key)
    error(string.format("%s has no %s", name, tostring(key)), 2)
  end
end

-- A namespace with functions, none but these.
function Check.namespace(name, specs)
  local functions = {}
  for key, spec in pairs(specs) do
    functions[key] = checked(name .. "." .. key, spec)
  end
  return setmetatable({}, { __index = function(self, key)
    return functions[key] or unknown(name)(self, key)
  end, __newindex = function() error(name .. " cannot be changed", 2) end })
end

-- The metatable of a class with methods, none but these; called with a dot they miss their object.
function Check.class(name, specs)
  local methods = {}
  for key, spec in pairs(specs) do
    local whole = { name, unpack(spec) }
    whole.run = spec.run
    methods[key] = checked(name .. ":" .. key, whole)
  end
  return { class_name = name, __index = function(self, key)
    return methods[key] or unknown(name)(self, key)
  end }
end

-- A table of named arguments: `wanted` gives the type of each that there is.
function Check.named(name, wanted, arguments)
  for key, value in pairs(arguments) do
    if not wanted[key] then
      error(string.format("%s has no argument %s", name, tostring(key)), 3)
    elseif not fits(value, wanted[key]) then
      error(string.format("%s: %s is a %s, not a %s", name, key, type_of(value), wanted[key]), 3)
    end
  end
  for key, kind in pairs(wanted) do
    if arguments[key] == nil and not fits(nil, kind) then
      error(string.format("%s: %s is missing", name, key), 3)
    end
  end
end

function Check.string(name, value)
  return type(value) == "string" and value or error(name .. ": no string", 3)
end

local function escape(text)
  return (text:gsub('[%z\1-\31"\\\127]', function(char) return string.format("\\u%04x", char:byte()) end))
end

-- JSON of plain tables; those with [1], and empty ones, are arrays.
function Check.to_json(value)
  if type(value) == "string" then
    return '"' .. escape(value) .. '"'
  elseif type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  if value[1] ~= nil or next(value) == nil then
    for _, item in ipairs(value) do
      table.insert(parts, Check.to_json(item))
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do
    table.insert(parts, Check.to_json(tostring(key)) .. ":" .. Check.to_json(item))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return Check
