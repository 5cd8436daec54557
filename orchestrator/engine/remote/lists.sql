-- What makes the lists of workflows and open waits fast in a database that holds the resonate-pg schema.
-- Apply it with psql as the owner of that schema. Every statement may be repeated, and none blocks what is running.
-- It changes none of resonate-pg's tables, functions or rights. To undo it: DROP SCHEMA countersign CASCADE;
-- DROP INDEX resonate.countersign_workflows, resonate.countersign_waits, resonate.countersign_people;

CREATE SCHEMA IF NOT EXISTS countersign;

-- Postgres keeps an index in the schema of its table, whoever made it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS countersign_workflows ON resonate.promises (
  (split_part(id, '.', 1) COLLATE "C"),
  (CASE state WHEN 'pending' THEN 'running' WHEN 'rejected' THEN 'failed' WHEN 'rejected_timedout' THEN 'expired'
   WHEN 'rejected_canceled' THEN 'cancelled' ELSE coalesce(value_headers ->> 'countersign:state', 'ended') END),
  created_at, (id COLLATE "C"))
WHERE tags ? 'countersign:nonce';

CREATE INDEX CONCURRENTLY IF NOT EXISTS countersign_waits ON resonate.promises (
  (split_part(id, '.', 1) COLLATE "C"),
  (coalesce(tags ->> 'countersign:audience', CASE WHEN param_data IS NULL THEN 'machine' ELSE '' END)),
  created_at, (id COLLATE "C"))
WHERE state = 'pending' AND tags ? 'countersign:callback';

CREATE INDEX CONCURRENTLY IF NOT EXISTS countersign_people ON resonate.promises
USING gin (string_to_array(tags ->> 'countersign:people', ' '))
WHERE state = 'pending' AND tags ? 'countersign:people';

-- The functions may be called by whoever may call resonate-pg's, which show the same promises one at a time. Each reads
-- the index at one place for each workflow and state (or audience), and each name of a workflow is found by one lookup.

CREATE OR REPLACE FUNCTION countersign.find_workflows(
  of_workflow text, of_statuses text[], since bigint, before_at bigint, before_id text, most int)
RETURNS SETOF resonate.promises LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE names(name) AS (
    (SELECT split_part(p.id, '.', 1) COLLATE "C" FROM resonate.promises AS p
     WHERE p.tags ? 'countersign:nonce' ORDER BY split_part(p.id, '.', 1) COLLATE "C" LIMIT 1)
    UNION ALL
    SELECT (SELECT split_part(p.id, '.', 1) COLLATE "C" FROM resonate.promises AS p
            WHERE p.tags ? 'countersign:nonce' AND (split_part(p.id, '.', 1) COLLATE "C") > names.name
            ORDER BY split_part(p.id, '.', 1) COLLATE "C" LIMIT 1)
    FROM names WHERE names.name IS NOT NULL
  ), page AS MATERIALIZED (
    SELECT found.id, found.created_at
    FROM names CROSS JOIN unnest(of_statuses) AS line(status) CROSS JOIN LATERAL (
      SELECT p.id, p.created_at FROM resonate.promises AS p
      WHERE p.tags ? 'countersign:nonce' AND (split_part(p.id, '.', 1) COLLATE "C") = names.name
        AND (CASE p.state WHEN 'pending' THEN 'running' WHEN 'rejected' THEN 'failed'
             WHEN 'rejected_timedout' THEN 'expired' WHEN 'rejected_canceled' THEN 'cancelled'
             ELSE coalesce(p.value_headers ->> 'countersign:state', 'ended') END) = line.status
        AND p.created_at >= since AND (p.created_at, p.id COLLATE "C") < (before_at, before_id)
      ORDER BY p.created_at DESC, p.id COLLATE "C" DESC LIMIT most
    ) AS found
    WHERE names.name IS NOT NULL AND (of_workflow IS NULL OR names.name = of_workflow)
    ORDER BY found.created_at DESC, found.id COLLATE "C" DESC LIMIT most
  )
  SELECT p.* FROM page JOIN resonate.promises AS p ON p.id = page.id
  ORDER BY p.created_at DESC, p.id COLLATE "C" DESC;
$$;

CREATE OR REPLACE FUNCTION countersign.find_waits(
  of_workflow text, of_audiences text[], of_people text[], after_at bigint, after_id text, most int)
RETURNS SETOF resonate.promises LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE names(name) AS (
    (SELECT split_part(p.id, '.', 1) COLLATE "C" FROM resonate.promises AS p
     WHERE p.state = 'pending' AND p.tags ? 'countersign:callback'
     ORDER BY split_part(p.id, '.', 1) COLLATE "C" LIMIT 1)
    UNION ALL
    SELECT (SELECT split_part(p.id, '.', 1) COLLATE "C" FROM resonate.promises AS p
            WHERE p.state = 'pending' AND p.tags ? 'countersign:callback'
              AND (split_part(p.id, '.', 1) COLLATE "C") > names.name
            ORDER BY split_part(p.id, '.', 1) COLLATE "C" LIMIT 1)
    FROM names WHERE names.name IS NOT NULL
  ), page AS MATERIALIZED (
    SELECT * FROM (
      SELECT found.id, found.created_at
      FROM names CROSS JOIN unnest(of_audiences) AS line(audience) CROSS JOIN LATERAL (
        SELECT p.id, p.created_at FROM resonate.promises AS p
        WHERE p.state = 'pending' AND p.tags ? 'countersign:callback'
          AND (split_part(p.id, '.', 1) COLLATE "C") = names.name
          AND (coalesce(p.tags ->> 'countersign:audience',
               CASE WHEN p.param_data IS NULL THEN 'machine' ELSE '' END)) = line.audience
          AND (p.created_at, p.id COLLATE "C") > (after_at, after_id)
        ORDER BY p.created_at, p.id COLLATE "C" LIMIT most
      ) AS found
      WHERE names.name IS NOT NULL AND (of_workflow IS NULL OR names.name = of_workflow)
      UNION ALL
      SELECT p.id, p.created_at FROM resonate.promises AS p
      WHERE p.state = 'pending' AND p.tags ? 'countersign:people'
        AND string_to_array(p.tags ->> 'countersign:people', ' ') && of_people
        AND (of_workflow IS NULL OR split_part(p.id, '.', 1) = of_workflow)
        AND (p.created_at, p.id COLLATE "C") > (after_at, after_id)
    ) AS each ORDER BY created_at, id COLLATE "C" LIMIT most
  )
  SELECT p.* FROM page JOIN resonate.promises AS p ON p.id = page.id
  ORDER BY p.created_at, p.id COLLATE "C";
$$;

REVOKE EXECUTE ON FUNCTION countersign.find_workflows, countersign.find_waits FROM PUBLIC;
GRANT USAGE ON SCHEMA countersign TO resonate_worker;
GRANT EXECUTE ON FUNCTION countersign.find_workflows, countersign.find_waits TO resonate_worker;
