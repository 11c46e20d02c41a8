-- Processes that work, and their ends.

-- Workers that live, each under a session's advisory lock.
CREATE TABLE executors (
    id          text PRIMARY KEY,
    lock_key    bigint NOT NULL UNIQUE,
    kind        text NOT NULL,
    host        text NOT NULL,
    pid         int NOT NULL,
    queues      text[] NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now()
);

-- Tells a message that kills its workers from a machine on which workers die anyway.
CREATE TABLE executor_deaths (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    executor_id  text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
