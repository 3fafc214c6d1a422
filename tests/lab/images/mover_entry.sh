#!/bin/sh
# What a VolSync Syncthing mover does before it serves: everything that exists is kept, what is missing is made.
# Expects SYNCTHING_DATA_DIR, SYNCTHING_CONFIG_DIR, SYNCTHING_CERT_DIR and STGUIAPIKEY in the environment.
set -eu
# The first process of a container hears SIGTERM only with a trap: without, an early end waits out the grace.
trap "exit 143" TERM
[ "${1:-}" = run ] || { echo "usage: $0 run" >&2; exit 2; }
config=$SYNCTHING_CONFIG_DIR data=$SYNCTHING_DATA_DIR

# The device's identity lives and dies with the config volume. VolSync makes RSA-4096; an elliptic key is made in
# milliseconds and the ID is the hash of the certificate either way.
if [ ! -f "$config/cert.pem" ] || [ ! -f "$config/key.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -days 7300 -subj /CN=syncthing \
        -keyout "$config/key.pem" -out "$config/cert.pem" 2>/dev/null
fi
cp "$SYNCTHING_CERT_DIR/httpsCertPEM" "$config/https-cert.pem"
cp "$SYNCTHING_CERT_DIR/httpsKeyPEM" "$config/https-key.pem"
chmod 600 "$config/key.pem" "$config/https-key.pem"

# Only where there is none: ignore patterns set later through the REST API stay.
[ -f "$data/.stignore" ] || echo 'lost+found' >"$data/.stignore"
[ -f "$config/config.xml" ] || cp "$(dirname "$0")/config-template.xml" "$config/config.xml"

export HOME="$config" STNOUPGRADE=1 STNODEFAULTFOLDER=1
exec syncthing serve --home="$config" --no-browser
