#!/usr/bin/env bash
# What the database's image runs when it makes an empty database: three logins, of which two own nothing
# (docs/how-to/run-in-production.md). Their names and passwords are those of the secret URLs.
set -euo pipefail

# user:password of postgresql://user:password@host/name; made by make-secrets.sh, so without anything to decode.
login() {
    local url part
    url="$(cat "/run/secrets/$1")"
    part="${url#postgresql://}"
    part="${part%%@*}"
    if [[ ! "$part" =~ ^[a-z_]+:[A-Za-z0-9_-]{20,}$ ]]; then
        echo "logins.sh: secrets/$1 must be postgresql://user:password@db/recado, a password of 20 or more of A-Z a-z 0-9 _ -" >&2
        exit 1
    fi
    printf '%s' "$part"
}

owner="$(login migrate_url)" app="$(login database_url)" across="$(login platform_url)"
export OWNER="${owner%%:*}" OWNER_PASSWORD="${owner#*:}"
export APP="${app%%:*}" APP_PASSWORD="${app#*:}"
export ACROSS="${across%%:*}" ACROSS_PASSWORD="${across#*:}"

# By the environment, which no list of processes shows, and not as arguments.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\getenv owner OWNER
\getenv owner_password OWNER_PASSWORD
\getenv app APP
\getenv app_password APP_PASSWORD
\getenv across ACROSS
\getenv across_password ACROSS_PASSWORD
CREATE ROLE :"owner" LOGIN CREATEROLE PASSWORD :'owner_password';
CREATE ROLE :"app" LOGIN NOINHERIT PASSWORD :'app_password';
CREATE ROLE :"across" LOGIN NOINHERIT PASSWORD :'across_password';
CREATE DATABASE recado OWNER :"owner";
REVOKE ALL ON DATABASE recado FROM PUBLIC;
-- Accepting prepares its one statement as a function of the session's own: that takes TEMPORARY, whatever the role.
GRANT TEMPORARY ON DATABASE recado TO PUBLIC;
GRANT CONNECT ON DATABASE recado TO :"app", :"across";
SQL
