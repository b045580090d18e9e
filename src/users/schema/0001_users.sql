-- Registered users. The checks say what the daemon relies on, for rows written by others too.
CREATE TABLE users (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- "C" sorts by bytes, as the daemon's own cursor does, whatever the database's locale.
    username      text        COLLATE "C" NOT NULL UNIQUE
                  CHECK (octet_length(username) BETWEEN 1 AND 256
                         AND username !~ '[\u0001-\u001F\u007F-\u009F]'),
    first_name    text        NOT NULL DEFAULT '' CHECK (octet_length(first_name) <= 256),
    last_name     text        NOT NULL DEFAULT '' CHECK (octet_length(last_name) <= 256),
    mobile        text,
    password_hash text,
    disabled      boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

COMMENT ON COLUMN users.password_hash IS 'Argon2id PHC string; null: no login by password';

CREATE FUNCTION users_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER users_touch BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION users_touch();
