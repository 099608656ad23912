-- prelude: the helpers that the scripts share.
--
-- The loader inserts this text where a script says `-- include prelude.lua`. Every name is a local of that
-- script: one global assignment breaks every later script on some engines.
--
-- Field texts are extracted from the reply with patterns instead of decoding it: the store's strings (tickers,
-- times, workers) contain no bracket, brace or quotation mark, and the text of a number or of the
-- holdings never passes through cjson, which prints both differently from engine to engine.

local HOLDING = '"([^"]+)":%s*([^%s,}]+)'
-- No line of holdings has more shares, and no total is as high: from here on `canonical` is not exact.
local LIMIT = 1e22

-- Text of a number that every JSON engine reads back exactly, as `canonical` in portfolio_trio/canonical.py
-- makes it: at most 15 significant digits and 22 decimals, and 13 digits if a whole number might be printed with
-- a trailing .0 that makes two more. For numbers below 1e22.
local function canonical(value)
  local size = math.abs(value)
  if size >= 1e15 and size < 1e16 then return string.format('%.13g', value) end
  if size < 1e-8 then value = tonumber(string.format('%.22f', value)) + 0 end -- + 0: zero has no sign
  return string.format('%.15g', value)
end

-- The sum of held and traded shares: at most nine decimals, and no digit finer than the fifteenth of the largest of
-- these numbers, so that rounding errors of the addition leave no position. As `canonical_shares` there.
local function sum_of_shares(held, traded)
  local sum = held + traded
  local size, decimals, limit = math.max(math.abs(held), math.abs(traded), math.abs(sum)), 9, 1e6
  while decimals > 0 and size >= limit do decimals, limit = decimals - 1, limit * 10 end
  return tonumber(canonical(tonumber(string.format('%.' .. decimals .. 'f', sum))))
end

-- Sets a session's time to live, in seconds from now, after activity of a client; 0 means it never expires.
local function live_for(key, ttl)
  if tonumber(ttl) == 0 then redis.call('PERSIST', key) else redis.call('EXPIRE', key, ttl) end
end

-- Reads two or more `$` paths. With a single path the engines wrap the reply differently.
-- Returns the reply's text, or nil and a status: missing, wrong_type.
local function read(key, ...)
  local reply = redis.pcall('JSON.GET', key, ...)
  if type(reply) == 'string' then return reply end
  if not reply then return nil, 'missing' end
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= 'ReJSON-RL' then return nil, 'wrong_type' end
  return redis.call('JSON.GET', key, ...) -- not the key's fault: let the error out
end

-- JSON text of the one value that `path` matched in the reply of read(), or nil if it matched nothing.
local function field(reply, path)
  -- A search for the rare `$` of the path is faster than one for the quotation mark before it.
  local at, last = string.find(reply, path .. '":', 1, true)
  if at and string.sub(reply, at - 1, at - 1) ~= '"' then
    at, last = string.find(reply, '"' .. path .. '":', 1, true)
  end
  if not at then return nil end
  local _, to, from = string.find(reply, '^%s*()%b[]', last + 1)
  if not to or to == from + 1 then return nil end
  return string.sub(reply, from + 1, to - 1)
end

-- A status if a document is not the one that the caller means ("" for any): `missing`, because the session has expired
-- and was created again, or `wrong_type`, because the store never wrote its incarnation. Documents of earlier releases
-- have none.
local function other(reply, incarnation)
  local own = field(reply, '$.incarnation')
  if own and not string.find(own, '^"[%w_-]+"$') then return 'wrong_type' end
  if incarnation ~= '' and own ~= '"' .. incarnation .. '"' then return 'missing' end
end

-- JSON text of the owner's targets; documents of earlier releases have none.
local function targets_of(reply) return field(reply, '$.targets') or 'null' end

local TICKER, MAX_TICKER = '[A-Z0-9^][A-Z0-9.=^&/_:-]*', 32

local function is_ticker(name) return #name <= MAX_TICKER and string.match(name, TICKER) == name end

-- JSON text without the spaces that some engines print between members.
local function compact(text)
  if not string.find(text, ' ', 1, true) then return text end
  return (string.gsub(string.gsub(text, '":%s+', '":'), ',%s+(["{])', ',%1'))
end

-- Prices by ticker, from JSON text {"AAPL":190.5}.
local function prices_by_ticker(text)
  local prices = {}
  for ticker, price in string.gmatch(text, HOLDING) do prices[ticker] = tonumber(price) end
  return prices
end

-- Values holdings text in document order; a line of zero shares needs no price. Returns the total as JSON
-- text, or nil and a reply that says why: {"missing_prices", ticker, ...}, {"overflow"} if the total is 1e22 or
-- more, {"wrong_type"} if a line has no number, or one without a price no ticker.
local function value_of(holdings, prices)
  local total, unpriced = 0, {'missing_prices'}
  for ticker, text in string.gmatch(holdings, HOLDING) do
    local price, shares = prices[ticker], tonumber(text)
    if not shares then return nil, {'wrong_type'} end
    if price then
      total = total + shares * price
    elseif not is_ticker(ticker) then
      return nil, {'wrong_type'}
    elseif shares ~= 0 then
      unpriced[#unpriced + 1] = ticker
    end
  end
  if #unpriced > 1 then return nil, unpriced end
  if not (math.abs(total) < LIMIT) then return nil, {'overflow'} end
  return canonical(total)
end

-- Milliseconds since 1970 by the clock of this server, the one clock that all workers share.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- JSON text of the number that `path` matched, or nil if it is not a number.
local function number(reply, path)
  local text = field(reply, path)
  if text and tonumber(text) then return text end
  return nil
end

-- JSON text of the total, or nil if it is not one.
local function total_of(reply)
  local text = number(reply, '$.total_value')
  return text and math.abs(tonumber(text)) < LIMIT and text or nil
end

-- Adds to a reply the names of the workers, except one, that have sockets of the session: they need to
-- know what a script has done.
local function with_others(answer, reply, me)
  for worker in string.gmatch(field(reply, '$.attached') or '', '"([%w_-]+)"') do
    if worker ~= me then answer[#answer + 1] = worker end
  end
  return answer
end

local function integer(value) return string.format('%d', value) end

-- Text of the whole number that `path` matched, not negative and exact as a double; nil if there is none. A
-- version of 1.5 or 1e300 cannot be counted up, and neither can the highest of all.
local function whole(reply, path)
  local value = tonumber(field(reply, path) or '')
  if value and value >= 0 and value < 2 ^ 53 - 1 and value % 1 == 0 then return integer(value) end
  return nil
end

local function quoted(text) return '"' .. text .. '"' end

-- A boolean in a reply.
local function flag(yes) return yes and '1' or '0' end

-- Whether a document has fallen behind what the caller knows of it, "incarnation run_id version" or "" for
-- nothing. Within one incarnation neither number decreases, unless a replica that lacked the newest writes took over.
local function is_behind(reply, known)
  local incarnation, run_id, seen = string.match(known, '^(%S+) (%d+) (%d+)$')
  if not incarnation or field(reply, '$.incarnation') ~= quoted(incarnation) then return false end
  return tonumber(whole(reply, '$.run_counter')) < tonumber(run_id)
    or tonumber(whole(reply, '$.version')) < tonumber(seen)
end

-- A list of strings as JSON text.
local function names(list)
  local texts = {}
  for index, name in ipairs(list) do texts[index] = quoted(name) end
  return '[' .. table.concat(texts, ',') .. ']'
end

-- The number of ends of runs that a document keeps, and of older ones that the worker that ran the run has not reported:
-- it may be stopped while many runs end, and all workers are to show the same end.
local MAX_ENDS, MAX_UNTOLD = 32, 8

local function head_of(run_id) return '{"run_id":' .. integer(run_id) .. ',' end

-- JSON text of how a run ended; '' if the document does not say.
local function end_of(ends, run_id)
  ends = compact(ends or '')
  local at = string.find(ends, head_of(run_id), 1, true)
  return at and string.match(ends, '^{[^{}\\]*}', at) or ''
end

-- JSON texts of the recorded ends, oldest first. A list as scripts write it is cut before each opening brace, because
-- looking into every end would be most of the time of a start. No string of JSON contains `{"run_id"`: where the brace is
-- inside, this quotation mark closes the string, and no letter may follow. In any other list, which somebody else wrote,
-- the ends are searched one by one.
local function split(ends)
  local texts, at = {}, 2
  local is_own = string.find(ends, '^%[{"run_id":%d+,') and string.sub(ends, -2) == '}]'
    and not string.find(ends, '\\', 1, true)
  while is_own do
    local after = string.find(ends, '{', at + 1, true)
    if after and not string.find(ends, '^},{"run_id":%d+,', after - 2) then break end
    texts[#texts + 1] = string.sub(ends, at, (after or #ends + 1) - 2)
    if not after then return texts end
    at = after
  end
  texts = {}
  for text in string.gmatch(ends, '{"run_id":%d+,[^{}\\]*}') do
    -- A text may contain the brace: what is written again has to be JSON.
    local _, quotes = string.gsub(text, '"', '')
    if quotes % 2 == 0 then texts[#texts + 1] = text end
  end
  return texts
end

-- Whether the worker that ran a run has reported this end.
local function is_final(text)
  return string.find(text, '"told":true', 1, true) or string.find(text, '"outcome":"completed"', 1, true)
end

-- JSON text of `run_ends` with the end of one more run. An end already recorded for that run stays, unless the
-- worker that ran it reports another, which is marked as `told` if the run did not complete.
local function with_end(ends, run_id, how, own)
  local is_known = end_of(ends, run_id) ~= ''
  if is_known and not own then return ends end
  if own and not string.find(how, '"completed"', 1, true) then how = how .. ',"told":true' end
  local head, kept, at = head_of(run_id), split(compact(ends or '')), nil
  for index = 1, is_known and #kept or 0 do
    if string.sub(kept[index], 1, #head) == head then at = at or index end
  end
  -- It is news, however old the run is.
  if at and at <= #kept - MAX_ENDS then
    table.remove(kept, at)
    at = nil
  end
  kept[at or #kept + 1] = head .. how .. '}'
  local excess = math.max(0, #kept - MAX_ENDS)
  local first = excess + 1
  for index = excess, 1, -1 do
    if first > excess - MAX_UNTOLD + 1 and not is_final(kept[index]) then
      first = first - 1
      kept[first] = kept[index]
    end
  end
  return '[' .. table.concat(kept, ',', first) .. ']'
end

-- The members of an end for a run that was cancelled.
local function cancelled(reason) return '"outcome":"cancelled","reason":' .. quoted(reason) end

-- Adds to the changes of an edit the end of the current run, if there is one.
local function end_current(changes, key, reply, current)
  local run_id = string.match(current, '"run_id":%s*(%d+)')
  if not run_id then return end
  local ends = with_end(field(reply, '$.run_ends'), run_id, cancelled('portfolio_changed'), false)
  for _, value in ipairs({key, '$.run_ends', ends}) do changes[#changes + 1] = value end
end

local function valued(tick_id, as_of) return '{"tick_id":' .. tick_id .. ',"as_of":' .. quoted(as_of) .. '}' end
