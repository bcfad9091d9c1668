-- What came of it, in one dialog: a line for each reason, with the files that it holds for.

local LrDialogs = import "LrDialogs"

local Reports = {}

local NAMES_IN_A_LINE = 4
local LINES_IN_A_DIALOG = 18

-- Make "IMG_1.CR2, IMG_2.CR2 and 12 more: reason" of {name, reason}s: one line a reason, in the order of the first.
function Reports.group(entries)
  local groups, order = {}, {}
  for _, entry in ipairs(entries) do
    local group = groups[entry.reason]
    if not group then
      group = { names = {}, more = 0 }
      groups[entry.reason] = group
      table.insert(order, entry.reason)
    end
    if #group.names < NAMES_IN_A_LINE then
      table.insert(group.names, entry.name)
    else
      group.more = group.more + 1
    end
  end
  local lines = {}
  for _, reason in ipairs(order) do
    local group = groups[reason]
    local names = table.concat(group.names, ", ")
    if group.more > 0 then
      names = LOC("$$$/rawdenoise/Report/AndMore=^1 and ^2 more", names, group.more)
    end
    table.insert(lines, names .. ": " .. reason)
  end
  return lines
end

-- A reason without its file's path, or its name in front, so that files with the same reason stand in the same line.
function Reports.without_path(reason, path)
  local leaf = path:match("[^/\\]+$") or path
  for _, name in ipairs({ path, leaf }) do
    if reason:sub(1, #name) == name then
      return reason:match("^:? (.+)", #name + 1) or reason
    end
  end
  local first, last = reason:find(path .. ": ", 1, true)
  return first and reason:sub(1, first - 1) .. reason:sub(last + 1) or reason
end

local function shorten(lines)
  if #lines <= LINES_IN_A_DIALOG then
    return lines
  end
  local short = {}
  for index = 1, LINES_IN_A_DIALOG do
    short[index] = lines[index]
  end
  table.insert(short, LOC("$$$/rawdenoise/Report/MoreReasons=and ^1 more reasons", #lines - LINES_IN_A_DIALOG))
  return short
end

-- Show a summary: with details in a dialog, without them in a word that fades away.
function Reports.show(summary, lines, style)
  if #lines == 0 and style == "info" then
    LrDialogs.showBezel("rawdenoise: " .. summary)
  else
    LrDialogs.message("rawdenoise: " .. summary, table.concat(shorten(lines), "\n"), style)
  end
end

-- Show how a run ended: its summary and lines, what was left out, and what helps where the command could not run.
function Reports.close(summary, lines, left, outcome, style)
  for _, line in ipairs(Reports.group(left)) do
    table.insert(lines, LOC("$$$/rawdenoise/Denoise/LeftOut=Left out: ^1", line))
  end
  if not outcome.is_whole and not outcome.is_cancelled then
    table.insert(lines, LOC "$$$/rawdenoise/Run/Hint=Settings... tells which command is run, and can check it.")
  end
  Reports.show(summary, lines, style)
end

return Reports
