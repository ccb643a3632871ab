-- The same POST, to a route that does nothing with it.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer nobody"
wrk.body = '{"volunteer":"V00001","service":"环境清洁","started_at":"2026-10-31T09:00:00+08:00","ended_at":"2026-10-31T09:30:00+08:00"}'
