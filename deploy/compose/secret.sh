#!/bin/sh
# Makes the secrets that the containers of docker-compose.yml share, unless they
# are there, and puts them into the volumes that the file mounts:
#
#   perch-secret           the cluster's secret and the password of Postgres, and
#                          what certs.sh has made: for the user of the image alone
#   perch-postgres-secret  the password and the key of Postgres, for root and postgres
#
# Volumes, because a file that is mounted from here keeps the owner that it has
# here. That is not the user in the container, for whom alone a file of mode 0600
# is; only root could change it; and the engine may be on another machine.
#
# The originals stay in perch-data/compose, or where PERCH_COMPOSE_DIR says.
set -eu
umask 077
dir=${PERCH_COMPOSE_DIR:-perch-data/compose}
mkdir -p "$dir"

for name in secret postgres-password; do
	if ! [ -s "$dir/$name" ]; then
		openssl rand -hex 32 >"$dir/$name.new"
		mv "$dir/$name.new" "$dir/$name"
	fi
done

# load VOLUME OWNER:GROUP MODE FILE... replaces what the volume has under these
# names. The container is never started, so nothing need be in the image.
load() {
	volume=$1 owner=${2%:*} group=${2#*:} mode=$3
	shift 3
	docker volume create "$volume" >/dev/null
	container=$(docker create --volume "$volume:/into" perch:local version)
	if tar --create --numeric-owner --owner="$owner" --group="$group" --mode="$mode" --directory="$dir" "$@" |
		docker cp - "$container:/into"; then
		docker rm "$container" >/dev/null
	else
		docker rm "$container" >/dev/null
		exit 1
	fi
}

if ! docker image inspect perch:local >/dev/null; then
	echo "There is no image perch:local yet: make image, or docker compose build node1" >&2
	exit 1
fi
load perch-secret 65532:65532 0600 secret postgres-password
load perch-postgres-secret 0:0 0600 postgres-password
if [ -s "$dir/ca.crt" ]; then
	load perch-secret 65532:65532 0600 ca.crt node1.crt node1.key node2.crt node2.key node3.crt node3.key gateway.crt gateway.key
	# 999 is postgres in Postgres's image; the server takes a key of root that its group may read.
	load perch-postgres-secret 0:999 0640 postgres.crt postgres.key
fi
echo "secrets: originals in $dir, copies in the volumes perch-secret and perch-postgres-secret"
