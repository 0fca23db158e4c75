"""What Redis does in one step each: its own generations of tags, beside the entries of the cluster (L3).

The rules are those of generations.py, with Redis' own numbers. They live in one hash, so that either all of them are there or,
after a restart or an eviction, none: then they begin anew from the clock, above every earlier one, and nothing older is used.

    last         the last number            floor            what is older than this is outdated
    <slot>       generation of a tag        writers:<slot>, until:<slot>   how many are changing it, when that lapses (ms)
    told         number of the last message on the channel
"""

from __future__ import annotations

# Numbers are written with string.format where they become text: Lua would round them to 14 digits.
_RULES = """
local gens = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('HGET', gens, 'last'))
if not last then
    last = time[1] * 1000000 + time[2]
    redis.call('HSET', gens, 'last', last, 'floor', last, 'told', last)
end
local function settle(slot)
    redis.call('HDEL', gens, 'until:' .. slot, 'writers:' .. slot)
    last = redis.call('HINCRBY', gens, 'last', 1)
    redis.call('HSET', gens, slot, last)
end
local function changing(slot)
    local lapses = tonumber(redis.call('HGET', gens, 'until:' .. slot))
    if lapses and lapses <= now then
        settle(slot)
        return false
    end
    return lapses ~= nil
end
local function fresh(as_of, slots)
    if as_of < tonumber(redis.call('HGET', gens, 'floor')) then
        return false
    end
    for slot in string.gmatch(slots, '%d+') do
        if changing(slot) or tonumber(redis.call('HGET', gens, slot) or '0') > as_of then
            return false
        end
    end
    return true
end
local function tell(channel, message)
    local number = redis.call('HINCRBY', gens, 'told', 1)
    redis.call('PUBLISH', channel, string.format('%.0f %s', number, message))
end
"""

# KEYS: generations, entry, used. Returns the last number, and when there is a whole entry, whether it is fresh, and its fields.
LOOK = (
    _RULES
    + """
local found = redis.call('HMGET', KEYS[2], 'body', 'as_of', 'slots', 'loaded_at', 'expires_at')
if not (found[1] and tonumber(found[2]) and found[3] and found[4] and found[5]) then
    return {last}
end
redis.call('ZADD', KEYS[3], 'XX', now, KEYS[2])
local good = fresh(tonumber(found[2]), found[3]) and 1 or 0
return {last, good, unpack(found)}
"""
)

# KEYS as above; ARGV: the fields, how long to keep them (ms), how many entries at the most. Returns how many had to go.
KEEP = (
    _RULES
    + """
if not fresh(tonumber(ARGV[2]), ARGV[3]) then
    return 0
end
redis.call('HSET', KEYS[2], 'body', ARGV[1], 'as_of', ARGV[2], 'slots', ARGV[3], 'loaded_at', ARGV[4], 'expires_at', ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('ZADD', KEYS[3], now, KEYS[2])
local gone = 0
while redis.call('ZCARD', KEYS[3]) > tonumber(ARGV[7]) do
    redis.call('DEL', redis.call('ZPOPMIN', KEYS[3])[1])
    gone = gone + 1
end
return gone
"""
)

# KEYS: generations; ARGV: slots, when it lapses (ms from now), channel, message.
BEGIN = (
    _RULES
    + """
for slot in string.gmatch(ARGV[1], '%d+') do
    local writers = changing(slot) and tonumber(redis.call('HGET', gens, 'writers:' .. slot)) or 0
    redis.call('HSET', gens, 'writers:' .. slot, writers + 1, 'until:' .. slot, now + ARGV[2])
end
tell(ARGV[3], ARGV[4])
return last
"""
)

# KEYS: generations; ARGV: slots, channel, message. Returns a number that no later change has.
END = (
    _RULES
    + """
for slot in string.gmatch(ARGV[1], '%d+') do
    local writers = redis.call('HINCRBY', gens, 'writers:' .. slot, -1)
    if writers <= 0 then
        settle(slot)
    end
end
tell(ARGV[2], ARGV[3])
return last
"""
)

# KEYS: generations; ARGV: channel, message. Everything that was loaded before is outdated. The numbers go on from the clock: a
# Redis that came back with an older state gives none again that it gave before: what was kept by those would seem newer.
OUTDATE_ALL = (
    _RULES
    + """
local clock = time[1] * 1000000 + time[2]
last = math.max(last + 1, clock)
redis.call('HSET', gens, 'last', last, 'floor', last)
redis.call('HSET', gens, 'told', math.max(tonumber(redis.call('HGET', gens, 'told')), clock))
tell(ARGV[1], ARGV[2])
return last
"""
)

# KEYS: generations, used.
FORGET = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    redis.call('DEL', key)
end
redis.call('DEL', KEYS[2])
"""

# KEYS: generations. Returns the number of the last message.
TOLD = _RULES + "return tonumber(redis.call('HGET', gens, 'told'))"
