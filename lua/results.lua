-- results: appends results to the document and keeps the newest, at most max_results and max_bytes of them; the
-- newest of all always stays.
--
-- The loader inserts this text where a script says `-- include results.lua`, after the prelude.

-- Sizes for a document that does not record them, because it was written by hand or by a version that
-- did not count: each result counts with the average length.
local function measured(key)
  local length = redis.call('JSON.ARRLEN', key, '$.analysis_results')[1]
  local each = 0
  if length > 0 then each = math.ceil(#redis.call('JSON.GET', key, '$.analysis_results') / length) end
  redis.call('JSON.SET', key, '$.result_sizes', '[' .. string.sub(string.rep(',' .. integer(each), length), 2) .. ']')
  return length * each
end

-- Drops the oldest until neither limit is exceeded; returns how many bytes are left. Reads only sizes, and few
-- more of them than it drops results.
local function trimmed(key, length, bytes, max_results, max_bytes)
  local excess, first = length - max_results, 0
  local function fits()
    if first == length - 1 then return true end
    return first >= excess and bytes <= max_bytes
  end
  while not fits() do
    local path = '$.result_sizes[' .. integer(first) .. ':' .. integer(math.min(first + 16, length)) .. ']'
    for size in string.gmatch(field(read(key, path, '$.version'), path), '%d+') do
      if fits() then break end
      bytes, first = bytes - size, first + 1
    end
  end
  if first > 0 then
    redis.call('JSON.ARRTRIM', key, '$.analysis_results', integer(first), integer(length - 1))
    redis.call('JSON.ARRTRIM', key, '$.result_sizes', integer(first), integer(length - 1))
  end
  return bytes
end

-- Appends JSON texts, one result each; returns how many bytes of results the document holds now. `reply` has
-- $.results_bytes.
local function appended(key, reply, results, max_results, max_bytes)
  local bytes = whole(reply, '$.results_bytes') or measured(key)
  if #results == 0 then return bytes end
  local sizes = {}
  for index, text in ipairs(results) do
    sizes[index] = integer(#text)
    bytes = bytes + #text
  end
  local length = redis.call('JSON.ARRAPPEND', key, '$.analysis_results', unpack(results))[1]
  redis.call('JSON.ARRAPPEND', key, '$.result_sizes', unpack(sizes))
  return trimmed(key, length, bytes, max_results, max_bytes)
end

-- The members of the end of a run that completed.
local function completed(results, errors, token)
  return '"outcome":"completed","results":' .. integer(results) .. ',"errors":' .. errors .. ',"token":' .. quoted(token)
end
