-- wrk sends DEPTH requests in one write: wrk -s pipeline.lua URL -- DEPTH
init = function(args)
  local one = wrk.format()
  pipeline = string.rep(one, tonumber(args[1]))
end

request = function()
  return pipeline
end
