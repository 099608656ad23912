-- trade: adds signed shares to one line and values the result at the caller's prices.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    ticker, shares (signed, at most nine decimals), max_holdings, prices (JSON text {"AAPL":190.5}),
--         tick_id, as_of, now (RFC 3339), ttl_seconds, worker (the caller), expected version ("" for any),
--         incarnation (of the document; "" for any), known (as for lift)
-- reply   {"ok", holdings, version, total_value, current_analysis, targets, other attached worker ...}, the first
--         five as JSON text
--         {"version", version}: the document has another version;
--         {"unchanged", ticker, shares to trade, shares held}: so few are lost to rounding;
--         {"missing_prices", ticker, ...}: held after the trade, but not among the prices; {"too_many_holdings"},
--         {"overflow"}, {"missing"}: none, or another document; {"behind"}: it has fallen behind what is known, see
--         lift;
--         {"wrong_type"}: nothing changed
-- fence   the incarnation, what is known, and the expected version, if one is given; otherwise trades add up in
--         whatever order they come. A running analysis stays current, and its own fence refuses its later
--         writes
-- targets stay unchanged: a name that is no longer held may still have one
-- ends    of the current run: portfolio_changed, unless another end was recorded before
-- include prelude.lua
-- include checks.lua

local key, ticker, delta, max_holdings = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local prices, tick_id, as_of, now, ttl, worker = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local incarnation, known = ARGV[11], ARGV[12]

local function line(name, text) return quoted(name) .. ':' .. text end

-- Holdings text after the trade, its number of lines, whether the line is new, and its shares before and after; nil if
-- they are no holdings. The other lines keep their shares and position, but not their text: engines print more digits
-- than they read back.
local function traded(holdings)
  local lines, held, at = {}, 0, nil
  local sum = sum_of(holdings, -LIMIT, LIMIT, function(name, shares)
    lines[#lines + 1] = line(name, canonical(shares))
    if name == ticker then at, held = #lines, shares end
  end)
  if not sum then return nil end
  local shares = sum_of_shares(held, delta)
  if shares ~= 0 then
    lines[at or #lines + 1] = line(ticker, canonical(shares))
  elseif at then
    table.remove(lines, at)
  end
  return '{' .. table.concat(lines, ',') .. '}', #lines, not at, held, shares
end

local reply, status = read(
  key, '$.holdings', '$.version', '$.current_analysis', '$.attached', '$.incarnation', '$.run_counter', '$.run_ends',
  '$.targets')
if status then return {status} end
status = other(reply, incarnation)
if status then return {status} end
local before, held = field(reply, '$.holdings'), whole(reply, '$.version')
local current = field(reply, '$.current_analysis')
if not (before and held and current and whole(reply, '$.run_counter')) then return {'wrong_type'} end
local holdings, count, added, shares_before, shares_after = traded(before)
if not (holdings and is_current(current) and is_targets(targets_of(reply))) then return {'wrong_type'} end
if is_behind(reply, known) then return {'behind'} end
if ARGV[10] ~= '' and tonumber(ARGV[10]) ~= tonumber(held) then return {'version', held} end

if canonical(shares_after) == canonical(shares_before) then
  return {'unchanged', ticker, ARGV[2], canonical(shares_before)}
end
if math.abs(shares_after) >= LIMIT then return {'overflow'} end
if added and count > max_holdings then return {'too_many_holdings'} end
local total, refusal = value_of(holdings, prices_by_ticker(prices))
if not total then return refusal end

local version = integer(held + 1)
local changes = {
  key, '$.holdings', holdings,
  key, '$.version', version,
  key, '$.total_value', total,
  key, '$.valued', valued(tick_id, as_of),
  key, '$.last_activity', quoted(now)}
end_current(changes, key, reply, current)
redis.call('JSON.MSET', unpack(changes))
live_for(key, ttl)
return with_others({'ok', holdings, version, total, current, targets_of(reply)}, reply, worker)
