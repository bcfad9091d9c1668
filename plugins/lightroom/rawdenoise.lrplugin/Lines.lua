-- Lines of a file that another program is still writing.

local Lines = {}

-- A function that gives the whole lines that came since its last call; one that is not at its end waits for it.
function Lines.follow(path)
  local offset, rest = 0, ""
  return function()
    local file = io.open(path, "rb")
    if not file then
      return {}
    end
    file:seek("set", offset)
    local data = file:read("*a") or ""
    file:close()
    offset = offset + #data
    local lines = {}
    for line, ending in ((rest .. data):gmatch("([^\n]*)(\n?)")) do
      if ending == "\n" then
        table.insert(lines, (line:gsub("\r$", "")))
      else
        rest = line
        break
      end
    end
    return lines
  end
end

return Lines
