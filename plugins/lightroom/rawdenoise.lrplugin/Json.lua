-- One JSON text to Lua values, strictly: what RFC 8259 does not allow is refused.
--
-- Strings become UTF-8. The command writes the bytes of names that are no UTF-8 as \udc80 to \udcff (Python's
-- surrogateescape): these become the bytes again. Of other surrogates only pairs are taken. Numbers are read
-- without tonumber, which goes by the system's decimal comma.

local Json = {
  null = setmetatable({}, { __tostring = function() return "null" end }), -- in arrays; absent from objects
}

local DEEPEST = 64
local ESCAPES = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local decode_value

local function refuse(at, what)
  error({ json = string.format("byte %d: %s", at, what) }, 0)
end

local function skip_space(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end

local function to_utf8(code)
  if code < 0x80 then
    return string.char(code)
  end
  local bytes = {}
  local first = 0x40 -- what the first byte still has room for
  while code >= first do
    table.insert(bytes, 1, string.char(0x80 + code % 0x40))
    code = math.floor(code / 0x40)
    first = first == 0x40 and 0x20 or first / 2
  end
  return string.char(0x100 - 2 * first + code) .. table.concat(bytes)
end

local function decode_unit(text, at)
  local digits = text:match("^\\u(%x%x%x%x)", at)
  return digits and tonumber(digits, 16)
end

local function decode_unicode(text, at)
  local unit = decode_unit(text, at)
  if not unit then
    refuse(at, "four hexadecimal digits have to follow \\u")
  end
  if unit < 0xD800 or unit > 0xDFFF then
    return to_utf8(unit), at + 6
  end
  local low = unit < 0xDC00 and decode_unit(text, at + 6)
  if low and low >= 0xDC00 and low <= 0xDFFF then
    return to_utf8(0x10000 + (unit - 0xD800) * 0x400 + low - 0xDC00), at + 12
  end
  if unit >= 0xDC80 and unit <= 0xDCFF then
    return string.char(unit - 0xDC00), at + 6
  end
  return refuse(at, "half of a surrogate pair")
end

local function decode_escape(text, at)
  local letter = text:sub(at + 1, at + 1)
  if letter == "u" then
    return decode_unicode(text, at)
  end
  return ESCAPES[letter] or refuse(at, "no such escape"), at + 2
end

local function decode_string(text, at)
  local parts = {}
  at = at + 1
  while true do
    local stop = text:find('[%z\1-\31"\\]', at)
    if not stop then
      refuse(at, "a string without an end")
    end
    table.insert(parts, text:sub(at, stop - 1))
    local mark = text:sub(stop, stop)
    if mark == '"' then
      return table.concat(parts), stop + 1
    elseif mark == "\\" then
      local part
      part, at = decode_escape(text, stop)
      table.insert(parts, part)
    else
      refuse(stop, "a control character in a string")
    end
  end
end

local function to_number(digits)
  local value = 0
  for digit in digits:gmatch("%d") do
    value = value * 10 + digit:byte() - 48
  end
  return value
end

local function decode_number(text, at)
  local sign, whole, after = text:match("^(%-?)(%d+)()", at)
  if not whole or whole:find("^0%d") then
    refuse(at, "no value")
  end
  local fraction, after_fraction = text:match("^%.(%d+)()", after)
  after = after_fraction or after
  local exponent_sign, exponent, after_exponent = text:match("^[eE]([+-]?)(%d+)()", after)
  after = after_exponent or after
  local power = exponent and to_number(exponent) * (exponent_sign == "-" and -1 or 1) or 0
  local value = to_number(whole .. (fraction or "")) * 10 ^ (power - #(fraction or ""))
  return sign == "-" and -value or value, after
end

local function decode_array(text, at, depth)
  local array = {}
  at = skip_space(text, at + 1)
  if text:sub(at, at) == "]" then
    return array, at + 1
  end
  while true do
    local value
    value, at = decode_value(text, at, depth)
    table.insert(array, value)
    at = skip_space(text, at)
    local mark = text:sub(at, at)
    if mark == "]" then
      return array, at + 1
    elseif mark ~= "," then
      refuse(at, "neither , nor ]")
    end
    at = at + 1
  end
end

local function decode_member(text, at, depth, object)
  at = skip_space(text, at)
  if text:sub(at, at) ~= '"' then
    refuse(at, "a name has to be a string")
  end
  local name, value
  name, at = decode_string(text, at)
  at = skip_space(text, at)
  if text:sub(at, at) ~= ":" then
    refuse(at, "no : after a name")
  end
  value, at = decode_value(text, at + 1, depth)
  if value ~= Json.null then
    object[name] = value
  end
  return skip_space(text, at)
end

local function decode_object(text, at, depth)
  local object = {}
  local first = skip_space(text, at + 1)
  if text:sub(first, first) == "}" then
    return object, first + 1
  end
  while true do
    at = decode_member(text, at + 1, depth, object)
    local mark = text:sub(at, at)
    if mark == "}" then
      return object, at + 1
    elseif mark ~= "," then
      refuse(at, "neither , nor }")
    end
  end
end

local WORDS = { { "true", true }, { "false", false }, { "null", Json.null } }

function decode_value(text, at, depth)
  at = skip_space(text, at)
  if depth > DEEPEST then
    refuse(at, "too deep")
  end
  local mark = text:sub(at, at)
  if mark == "{" then
    return decode_object(text, at, depth + 1)
  elseif mark == "[" then
    return decode_array(text, at, depth + 1)
  elseif mark == '"' then
    return decode_string(text, at)
  end
  for _, word in ipairs(WORDS) do
    if text:sub(at, at + #word[1] - 1) == word[1] then
      return word[2], at + #word[1]
    end
  end
  return decode_number(text, at)
end

-- The value of a JSON text, or nil and what is wrong with it. A null is Json.null, and absent from objects.
function Json.decode(text)
  local ok, value, at = pcall(decode_value, text, 1, 0)
  if not ok then
    return nil, type(value) == "table" and value.json or tostring(value)
  end
  at = skip_space(text, at)
  if at <= #text then
    return nil, string.format("byte %d: more than one value", at)
  end
  return value
end

return Json
