#!/bin/sh
# Certificates for Dask: certificates.sh FOLDER. Who holds host.key may run any code on every worker: keep it secret.
set -eu
umask 077
mkdir -p "$1"
cd "$1"
openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=ufvnet" -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey rsa:3072 -nodes -subj "/CN=ufvnet-host" -keyout host.key -out host.csr 2>/dev/null
openssl x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out host.pem 2>/dev/null
rm host.csr ca.srl
