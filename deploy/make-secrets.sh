#!/bin/sh
# Makes what is secret of a deployment under secrets/, beside this file, once: what is there stays as it is.
#
#   ./make-secrets.sh                       for compose.yaml, whose database is db
#   ./make-secrets.sh db.internal:5432      for a PostgreSQL of your own: only the names and passwords to give it
#
# The folder is for its owner alone. The files in it can be read by whoever the container runs as.
set -eu
umask 022
host="${1:-db:5432}"
folder="$(dirname "$0")/secrets"
mkdir -p "$folder"
chmod 700 "$folder"

random() {
    head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

# What is on standard input becomes the secret of that name, unless there is one.
secret() {
    if [ -e "$folder/$1" ]; then
        cat >/dev/null
        echo "kept  secrets/$1"
        return
    fi
    cat >"$folder/.$1.new"
    chmod 444 "$folder/.$1.new"
    mv "$folder/.$1.new" "$folder/$1"
    echo "made  secrets/$1"
}

random 24 | secret postgres_password
printf 'postgresql://recado_owner:%s@%s/recado\n' "$(random 24)" "$host" | secret migrate_url
printf 'postgresql://recado_login:%s@%s/recado\n' "$(random 24)" "$host" | secret database_url
printf 'postgresql://recado_across:%s@%s/recado\n' "$(random 24)" "$host" | secret platform_url
# 32 bytes in URL-safe base64, as RECADO_SECRET_KEYS wants them. Keep a copy: backups can't be read without it.
head -c 32 /dev/urandom | base64 | tr '+/' '-_' | secret secret_keys
# Of the local Twilio's account; only compose.dev.yaml hands it to anybody.
random 16 | secret simulator_token
# Empty: no key of a provider. Write one into it when RECADO_MODEL names a model.
printf '' | secret openai_api_key
