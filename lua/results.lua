-- results: appends results to the document and keeps the newest, at most max_results and max_bytes of them; the
-- newest of all always stays.
--
-- The loader inserts this text where a script says `-- include results.lua`, after the prelude.

-- The length of a list of the document; nil if there is none.
local function length_of(key, path) return redis.call('JSON.ARRLEN', key, path)[1] or nil end

-- The number of results, or nil if the document has no list of them.
local function count_of(key) return length_of(key, '$.analysis_results') end

-- Sizes for a document that does not record them, because it was written by hand or by a version that
-- did not count: each result counts with the average length.
local function measured(key, length)
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
    local before = first
    for size in string.gmatch(field(read(key, path, '$.version'), path) or '', '%d+') do
      if fits() then break end
      bytes, first = bytes - size, first + 1
    end
    -- Somebody else wrote something that is not a size.
    if first == before then first = first + 1 end
  end
  if first > 0 then
    redis.call('JSON.ARRTRIM', key, '$.analysis_results', integer(first), integer(length - 1))
    redis.call('JSON.ARRTRIM', key, '$.result_sizes', integer(first), integer(length - 1))
  end
  return bytes
end

-- The new length of a list after texts were appended; nil if there is no list, and nothing was changed.
local function lengthened(key, path, texts)
  local reply = redis.pcall('JSON.ARRAPPEND', key, path, unpack(texts))
  if not reply.err then return reply[1] or nil end
  if not length_of(key, path) then return nil end
  redis.call('JSON.ARRAPPEND', key, path, unpack(texts)) -- not the document's fault: let the error out
end

-- Appends JSON texts, one result each; returns how many bytes of results the document holds now, or nil if it has no
-- list of results; then nothing was changed. `reply` has $.results_bytes.
local function appended(key, reply, results, max_results, max_bytes)
  local bytes = whole(reply, '$.results_bytes')
  local length = #results > 0 and lengthened(key, '$.analysis_results', results) or (not bytes and count_of(key))
  if #results == 0 then return bytes or (length and measured(key, length)) or nil end
  if not length then return nil end
  local sizes = {}
  for index, text in ipairs(results) do
    sizes[index] = integer(#text)
    bytes = bytes and bytes + #text
  end
  if not bytes or lengthened(key, '$.result_sizes', sizes) ~= length then bytes = measured(key, length) end
  return trimmed(key, length, bytes, max_results, max_bytes)
end

-- The members of the end of a run that completed.
local function completed(results, errors, token)
  return '"outcome":"completed","results":' .. integer(results) .. ',"errors":' .. errors .. ',"token":' .. quoted(token)
end
