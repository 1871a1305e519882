#!/bin/sh
# A stand-in for `kubeadm certs renew NAME`: it really makes certificates, with openssl. NODE (environment) is the node's
# directory; NODE/control holds files that make it misbehave.
set -eu
k=$NODE/kubernetes
control=$NODE/control
[ "$1 $2" = "certs renew" ] || { echo "error: unknown command \"$1 $2\"" >&2; exit 1; }
name=$3
echo "$name" >> "$NODE/kubeadm.log"
echo '[renew] Reading configuration from the cluster...'
[ ! -e "$control/kubeadm-silent" ] || exit 0
if [ -e "$control/kubeadm-fails-$name" ]; then echo 'error: failed to load certificate' >&2; exit 1; fi
if [ -e "$control/kubeadm-hangs-$name" ]; then sleep 3; fi

case $name in
*.conf) cert=$NODE/tmp.$name.crt key=$NODE/tmp.$name.key ca=$k/pki/ca old=$NODE/tmp.$name.old
    sed -n 's/.*client-certificate-data: //p' "$k/$name" | base64 -d > "$old" ;;
etcd-*) file=$k/pki/etcd/${name#etcd-} cert=$file.crt key=$file.key ca=$k/pki/etcd/ca old=$file.crt ;;
apiserver-etcd-client) cert=$k/pki/$name.crt key=$k/pki/$name.key ca=$k/pki/etcd/ca old=$cert ;;
front-proxy-client) cert=$k/pki/$name.crt key=$k/pki/$name.key ca=$k/pki/front-proxy-ca old=$cert ;;
*) cert=$k/pki/$name.crt key=$k/pki/$name.key ca=$k/pki/ca old=$cert ;;
esac
[ -e "$ca.key" ] || { echo "Detected external ca, certificate can't be renewed"; exit 0; }
[ -s "$old" ] || { echo "MISSING! certificate"; exit 0; }
subject=$(openssl x509 -in "$old" -noout -subject -nameopt RFC2253 | sed 's/^subject=//')
[ ! -e "$control/kubeadm-wrong-subject" ] || subject=CN=somebody-else
names=$(openssl x509 -in "$old" -noout -ext subjectAltName 2> /dev/null | sed -n 's/IP Address:/IP:/g; s/^ *\(DNS\|IP\)/\1/p')
# Kubeadm writes a relative subject in this order: O, CN.
slashes=$(echo "$subject" | awk -F, '{for (i = NF; i > 0; i--) printf "/%s", $i}')
new=$NODE/tmp.$name
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$new.key" -subj "$slashes" -out "$new.csr" 2> /dev/null
{ echo "extendedKeyUsage=serverAuth,clientAuth"; [ -z "$names" ] || echo "subjectAltName=$names"; } > "$new.ext"
openssl x509 -req -in "$new.csr" -CA "$ca.crt" -CAkey "$ca.key" -set_serial "0x$(openssl rand -hex 8)" -days 365 -extfile "$new.ext" -out "$new.crt" 2> /dev/null
case $name in
*.conf)
    sed -e "s|client-certificate-data: .*|client-certificate-data: $(base64 -w0 < "$new.crt")|" \
        -e "s|client-key-data: .*|client-key-data: $(base64 -w0 < "$new.key")|" "$k/$name" > "$new.conf"
    cat "$new.conf" > "$k/$name" ;;
*)
    cat "$new.key" > "$key"
    cat "$new.crt" > "$cert" ;;
esac
rm -f "$new".*
echo "certificate $name renewed"
