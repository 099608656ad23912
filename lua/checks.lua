-- checks: whether JSON text is what the store writes, so that a script changes nothing in a document that somebody else
-- has written, and its caller can read what it returns.
--
-- The loader inserts this text where a script says `-- include checks.lua`, after the prelude.

-- The sum of an object that has nothing but numbers by ticker, each from `least` to `most`; nil if it is something else.
-- It is such an object if its lines are as long as it: each has four characters more than its name and its number, and
-- one brace is left. Calls `see`, if given, with each name and number.
local function sum_of(text, least, most, see)
  text = compact(text)
  local sum, length = 0, 1
  for name, number in string.gmatch(text, '"(' .. TICKER .. ')":([^,}]+)') do
    local value = tonumber(number)
    if not (value and value >= least and value <= most and #name <= MAX_TICKER) then return nil end
    sum, length = sum + value, length + #name + #number + 4
    if see then see(name, value) end
  end
  if text ~= '{}' and (length ~= #text or string.sub(text, -1) ~= '}') then return nil end
  return sum
end

local function is_holdings(text) return sum_of(text, -LIMIT, LIMIT) ~= nil end

local function is_targets(text)
  if text == 'null' then return true end
  local members = '^{%s*"weights":%s*(.-),%s*"budgets":%s*(.-),%s*"band":%s*([^%s,}]+)%s*}$'
  local weights, budgets, band = string.match(text, members)
  local function is_shares(part) return part == 'null' or (sum_of(part, 0, 1) or 0) > 0 end
  return weights ~= nil and is_shares(weights) and is_shares(budgets) and sum_of('{"B":' .. band .. '}', 0, 1) ~= nil
end

local function is_whole(text) return string.find(text, '^%d+$') ~= nil and tonumber(text) < 2 ^ 53 end
local function is_moment(text) return string.find(text, '^"[%dTZ:.-]+"$') ~= nil and #text <= 42 end
local function is_code(text) return string.find(text, '^"[%w_-]*"$') ~= nil and #text <= 66 end

-- Whether it is a current run, or null. Those of other releases may have other members, or lack worker and token.
local function is_current(text)
  if text == 'null' then return true end
  local members = {
    ticker = function(value) return is_ticker(string.sub(value, 2, -2)) and string.find(value, '^".*"$') ~= nil end,
    started_at = is_moment, run_id = is_whole, version = is_whole, tick_id = is_whole, recorded = is_whole,
    worker = is_code, token = is_code}
  local seen = {worker = true, token = true}
  local rest = string.gsub(text, '"([%l_]+)":%s*("?[^%s",{}%[%]\\]*"?)', function(name, value)
    if members[name] and not members[name](value) then return nil end
    seen[name] = true
    return ''
  end)
  for name in pairs(members) do
    if not seen[name] then return false end
  end
  return string.find(rest, '^{[%s,]*}$') ~= nil
end

local function is_valued(text)
  local tick_id, as_of = string.match(text, '^{"tick_id":%s*(%d+),%s*"as_of":%s*("[^"]*")}$')
  return tick_id ~= nil and is_whole(tick_id) and is_moment(as_of)
end
