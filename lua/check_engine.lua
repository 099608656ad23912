-- check_engine: checks that this server does everything the other scripts need.
-- KEYS[1] a key that nothing else uses; it is deleted again
-- ARGV    none
-- reply   {"ok"}; {"differs", command, reply}: a JSON command gives another reply than the scripts expect
-- fence   none
-- include prelude.lua

local key = KEYS[1]

redis.call('JSON.SET', key, '$', '{"list":[1,2,3],"sum":1}')
redis.call('EXPIRE', key, 60)
local length = redis.call('JSON.ARRAPPEND', key, '$.list', '4')[1]
redis.call('JSON.ARRTRIM', key, '$.list', 1, 3)
redis.call('JSON.MSET', key, '$.sum', '2', key, '$.none', 'null')
local reply = read(key, '$.list', '$.sum', '$.none')
redis.call('DEL', key)

if length ~= 4 then return {'differs', 'JSON.ARRAPPEND', tostring(length)} end
local list = string.gsub(field(reply, '$.list') or '', '%s', '')
if list ~= '[2,3,4]' then return {'differs', 'JSON.ARRTRIM', list} end
if number(reply, '$.sum') ~= '2' or field(reply, '$.none') ~= 'null' then return {'differs', 'JSON.MSET', reply} end
return {'ok'}
