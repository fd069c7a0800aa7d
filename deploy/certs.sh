#!/bin/sh
# certs.sh DIR NAME=HOST,HOST...  makes an authority in DIR, unless it is there,
# and a certificate for each NAME, signed by it, good for its HOSTs (names, or
# addresses) as a server and as a client: NAME.crt and NAME.key, mode 0600.
#
# What is there already stays as it is: remove a certificate to have it made anew.
# Keep ca.key away from the machines that run Perch: whoever has it is a member.
set -eu
umask 077
dir=$1
shift
mkdir -p "$dir"

key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
if ! [ -s "$dir/ca.crt" ]; then
	openssl req -x509 $key -days 3650 -subj "/CN=Perch authority" \
		-addext keyUsage=critical,keyCertSign -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
fi
for pair in "$@"; do
	name=${pair%%=*}
	hosts=$(echo "${pair#*=}" | tr , '\n' | sed -E 's/^([0-9.]+|.*:.*)$/IP:\1/; t; s/^/DNS:/' | paste -sd, -)
	if [ -s "$dir/$name.crt" ]; then continue; fi
	openssl req -new $key -subj "/CN=$name" -addext "subjectAltName=$hosts" \
		-addext extendedKeyUsage=serverAuth,clientAuth -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
	openssl x509 -req -in "$dir/$name.csr" -copy_extensions copy -days 825 \
		-CA "$dir/ca.crt" -CAkey "$dir/ca.key" -set_serial "0x$(openssl rand -hex 16)" -out "$dir/$name.crt" 2>/dev/null
	rm "$dir/$name.csr"
done
