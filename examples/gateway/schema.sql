-- What the gateway knows. Times are milliseconds of Unix time.
PRAGMA locking_mode = EXCLUSIVE; -- a second gateway on the same file is told at once
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL; -- a power cut may cost the last seconds, never the file

CREATE TABLE IF NOT EXISTS reading (
    id INTEGER PRIMARY KEY, time INTEGER, name TEXT, value REAL, unit TEXT, via TEXT);
CREATE INDEX IF NOT EXISTS reading_by_name ON reading (name);

-- seen: when it was heard of last; count: how often. Of these four tables the rows that were
-- seen last are kept, store.py says how many.
CREATE TABLE IF NOT EXISTS sensor ( -- with its newest value
    name TEXT PRIMARY KEY, seen INTEGER, count INTEGER DEFAULT 1,
    value REAL, unit TEXT, via TEXT);
CREATE TABLE IF NOT EXISTS alarm ( -- a value of the sensor outside of these is one
    name TEXT PRIMARY KEY, seen INTEGER, count INTEGER DEFAULT 1,
    low REAL, high REAL);
CREATE TABLE IF NOT EXISTS actuator ( -- what was asked of it, and what it says it is
    name TEXT PRIMARY KEY, seen INTEGER, count INTEGER DEFAULT 1,
    asked TEXT DEFAULT '', asked_at INTEGER DEFAULT 0, state TEXT, state_at INTEGER);
CREATE TABLE IF NOT EXISTS device ( -- "mqtt" and its identifier, or "udp" and its host
    name TEXT PRIMARY KEY, seen INTEGER, count INTEGER DEFAULT 1);

CREATE VIEW IF NOT EXISTS sensor_now AS
    SELECT sensor.*, low, high, CASE
        WHEN value < low THEN 'low' WHEN value > high THEN 'high' ELSE '' END AS alarm
    FROM sensor LEFT JOIN alarm USING (name) ORDER BY name;

UPDATE actuator SET state = 'offline'; -- until it says something
