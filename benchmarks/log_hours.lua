-- Every request logs another half hour of another volunteer: nothing is refused, nothing is repeated.
local threads = 0

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(arguments)
   token, volunteers, run = arguments[1], tonumber(arguments[2]), arguments[3]
   days = {}
   for index = 4, #arguments do days[#days + 1] = arguments[index] end
   counter = 0
   headers = { ["Authorization"] = "Bearer " .. token, ["Content-Type"] = "application/json" }
end

function request()
   -- Each thread has its own half of the volunteers; a volunteer has 20 half hours a day, of the days given.
   local mine = math.floor(volunteers / 2)
   local volunteer = number * mine + (counter % mine) + 1
   local slot = math.floor(counter / mine)
   local day = days[math.floor(slot / 20) % #days + 1]
   local minute = 480 + (slot % 20) * 30
   counter = counter + 1
   headers["Idempotency-Key"] = run .. "-" .. number .. "-" .. counter
   local body = string.format(
      '{"volunteer":"V%05d","service":"环境清洁","started_at":"%sT%02d:%02d:00+08:00","ended_at":"%sT%02d:%02d:00+08:00"}',
      volunteer, day, math.floor(minute / 60), minute % 60,
      day, math.floor((minute + 30) / 60), (minute + 30) % 60)
   return wrk.format("POST", "/v1/hours", headers, body)
end
