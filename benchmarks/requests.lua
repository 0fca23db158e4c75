-- Requests of wrk: the same one for ever, or those of learners; afterwards the figures as one line of JSON.
--   wrk -s requests.lua URL -- read   STEP BASE FIRST LEARNERS            100 learners at a time, by turns
--   wrk -s requests.lua URL -- crowd  STEP BASE FIRST LEARNERS            all of them by turns: nobody comes twice soon
--   wrk -s requests.lua URL -- finish STEP BASE FIRST LEARNERS LESSON …   100 at a time, each completes every lesson once

local AT_A_TIME = 100

local threads = {}

function setup(thread)
    thread:set("thread_number", #threads)
    thread:set("sent", 0)
    table.insert(threads, thread)
end

function init(args)
    kind = args[1]
    if kind == nil then
        return
    end
    step, base, first, learners = tonumber(args[2]), tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
    lessons = {}
    for number = 6, #args do
        table.insert(lessons, args[number])
    end
    local head = ""
    for name, value in pairs(wrk.headers) do
        head = head .. name .. ": " .. value .. "\r\n"
    end
    tail = "\r\n" .. head .. "\r\n"
    request = next_request
end

function next_request()
    local number = base + sent * step + thread_number
    sent = sent + 1
    local at_a_time = math.min(AT_A_TIME, learners)
    if kind ~= "finish" then
        local among = kind == "read" and at_a_time or learners
        return wrk.method .. " " .. wrk.path .. " HTTP/1.1\r\nAuthorization: Bearer cv_learner" ..
            string.format("%d", first + number % among) .. tail
    end
    local turn = at_a_time * #lessons
    local place = math.floor(number / turn) * at_a_time + number % at_a_time
    if place >= learners then
        error("no learner is left who has not completed every lesson")
    end
    local learner = string.format("%d", first + place)
    local lesson = lessons[math.floor(number % turn / at_a_time) + 1]
    return "POST /api/v1/lessons/" .. lesson .. "/completions HTTP/1.1\r\nAuthorization: Bearer cv_learner" .. learner ..
        "\r\nIdempotency-Key: key-" .. string.format("%d", number) ..
        "\r\nContent-Type: application/json\r\nContent-Length: 2" .. tail .. "{}"
end

function done(summary, latency, requests)
    local most = 0
    for _, thread in ipairs(threads) do
        most = math.max(most, thread:get("sent"))
    end
    local errors = summary.errors
    io.write(string.format(
        '\nJSON {"requests": %d, "seconds": %.6f, "sent": %d, "refused": %d, "broken": %d, ' ..
        '"p50_ms": %.3f, "p90_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
        summary.requests, summary.duration / 1e6, most * #threads, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(95) / 1000,
        latency:percentile(99) / 1000, latency.max / 1000))
end
