-- Tells every instance who has changed, whoever made the change. A statement that changes few
-- users names each; one that changes many says so with an empty payload, which no name is.
CREATE FUNCTION users_announce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- What instances look up one by one within a second.
    few      CONSTANT integer := 100;
    changed  text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        changed := ARRAY(SELECT username FROM after_change LIMIT few + 1);
    ELSIF TG_OP = 'DELETE' THEN
        changed := ARRAY(SELECT username FROM before_change LIMIT few + 1);
    ELSIF TG_OP = 'UPDATE' THEN
        changed := ARRAY(SELECT username FROM after_change
                         UNION SELECT username FROM before_change LIMIT few + 1);
    ELSE
        changed := NULL;
    END IF;
    IF changed IS NULL OR cardinality(changed) > few THEN
        PERFORM pg_notify('wsfleetd_users', '');
    ELSE
        PERFORM pg_notify('wsfleetd_users', name) FROM unnest(changed) AS name;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER users_announce_insert AFTER INSERT ON users
    REFERENCING NEW TABLE AS after_change
    FOR EACH STATEMENT EXECUTE FUNCTION users_announce();

CREATE TRIGGER users_announce_update AFTER UPDATE ON users
    REFERENCING OLD TABLE AS before_change NEW TABLE AS after_change
    FOR EACH STATEMENT EXECUTE FUNCTION users_announce();

CREATE TRIGGER users_announce_delete AFTER DELETE ON users
    REFERENCING OLD TABLE AS before_change
    FOR EACH STATEMENT EXECUTE FUNCTION users_announce();

CREATE TRIGGER users_announce_truncate AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION users_announce();
