-- get_results: the newest results, of one ticker or of all, as many as are requested and fit.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    ticker ("" for any), limit, max_bytes (of the results' texts; the newest one is always returned)
-- reply   {"ok", "1" if older ones were left out, else "0", receipt, found (JSON text, lists by path), path
--         ...}, the paths oldest first. receipt (JSON text, "" for none) belongs to the run of the oldest
--         result, if the run's first result, which contains it, is not among those found
--         {"missing"}, {"wrong_type"}
-- fence   none: nothing is written, so a full server answers as well
-- include prelude.lua
-- include results.lua

local key, ticker, limit, max_bytes = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- Limits of one call, which blocks the whole server: results examined per step, results examined for one ticker, and
-- ranges of results in an answer.
local STEP, LOOKED_AT, STRETCHES = 128, 20000, 1000
-- How far before a result the first result of its run may be.
local RUN = 64

local function stretch(from, to) return '$.analysis_results[' .. integer(from) .. ':' .. integer(to) .. ']' end

-- The values of one member of the results at places `from` (included) to `to` (excluded), by place.
local function members(name, from, to)
  local path = stretch(from, to) .. '.' .. name
  local list = {}
  for text in string.gmatch(field(read(key, path, '$.version'), path) or '', '[^,%s]+') do list[#list + 1] = text end
  if #list == to - from then return list end
  -- Some results lack the member: read them one by one.
  list = {}
  for index = from, to - 1 do
    path = stretch(index, index + 1) .. '.' .. name
    list[#list + 1] = field(read(key, path, '$.version'), path) or ''
  end
  return list
end

local function sizes(from, to)
  local path = '$.result_sizes[' .. integer(from) .. ':' .. integer(to) .. ']'
  local list = {}
  for size in string.gmatch(field(read(key, path, '$.version'), path) or '', '%d+') do list[#list + 1] = size end
  return list
end

-- The receipt of the run of the result at `place`, if an earlier result contains it; else "".
local function receipt_before(place)
  local from = math.max(0, place - RUN)
  local run_ids = members('run_id', from, place + 1)
  local own, first = run_ids[#run_ids], #run_ids
  while first > 1 and run_ids[first - 1] == own do first = first - 1 end
  if own == '' or first == #run_ids then return '' end
  local path = stretch(from + first - 1, from + first) .. '.receipt'
  return field(read(key, path, '$.version'), path) or ''
end

local reply, status = read(key, '$.version', '$.run_counter')
if status then return {status} end
local length = count_of(key)
if not (whole(reply, '$.version') and length) then return {'wrong_type'} end

-- Ranges of places, newest first; `oldest` is the last place taken.
local stretches, taken, bytes, oldest, looked, full = {}, 0, 0, length, length, false

local function take(place, size)
  if taken == limit or (taken > 0 and bytes + size > max_bytes) then return false end
  if place ~= oldest - 1 or #stretches == 0 then
    if #stretches == STRETCHES then return false end
    stretches[#stretches + 1] = {place, place + 1}
  end
  stretches[#stretches][1] = place
  taken, bytes, oldest = taken + 1, bytes + size, place
  return true
end

while looked > 0 and not full do
  local step = STEP
  if ticker == '' then step = math.min(STEP, math.max(limit - taken, 1)) end
  local from = math.max(0, looked - step)
  local long = sizes(from, looked)
  local names = ticker ~= '' and members('ticker', from, looked)
  for place = looked - 1, from, -1 do
    if not names or names[place - from + 1] == quoted(ticker) then
      full = not take(place, tonumber(long[place - from + 1] or 0))
      if full then break end
    end
  end
  looked = from
  local enough = (ticker == '' and taken == limit) or length - looked >= LOOKED_AT
  full = full or (enough and looked > 0)
end
if taken == 0 then return {'ok', flag(full), '', '{}'} end

local paths = {}
for index = #stretches, 1, -1 do paths[#paths + 1] = stretch(stretches[index][1], stretches[index][2]) end
local found = read(key, '$.version', unpack(paths))
return {'ok', flag(full), receipt_before(oldest), found, unpack(paths)}
