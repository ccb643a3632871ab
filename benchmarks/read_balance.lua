-- Balances of households drawn at random.
function init(arguments)
   headers = { ["Authorization"] = "Bearer " .. arguments[1] }
   households = tonumber(arguments[2])
end

function request()
   return wrk.format("GET", string.format("/v1/households/H%05d/balance", math.random(households)), headers)
end
