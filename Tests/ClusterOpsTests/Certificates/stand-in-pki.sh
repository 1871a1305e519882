#!/bin/sh
# Makes a control plane node's files as kubeadm lays them out, in NODE/kubernetes and NODE/kubelet, with certificates that end
# in DAYS days. stand-in-pki.sh NODE DAYS APISERVER CONTROLLER SCHEDULER ETCD PEER KUBELET (ports)
set -eu
NODE=$1 days=$2 apiserver=$3 controller=$4 scheduler=$5 etcd=$6 peer=$7 kubelet=$8
k=$NODE/kubernetes
mkdir -p "$k/pki/etcd" "$k/manifests" "$NODE/kubelet/pki" "$NODE/control" "$NODE/etcd"
chmod 700 "$NODE/etcd"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$1" 2> /dev/null; }
ca() {
    key "$k/pki/$1.key"
    openssl req -x509 -new -key "$k/pki/$1.key" -subj "/CN=$2" -days 3650 -out "$k/pki/$1.crt" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature
}
leaf() { # file, ca, subject, names
    key "$1.key"
    openssl req -new -key "$1.key" -subj "$3" -out "$1.csr"
    { echo "extendedKeyUsage=serverAuth,clientAuth"; [ -z "$4" ] || echo "subjectAltName=$4"; } > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$k/pki/$2.crt" -CAkey "$k/pki/$2.key" -set_serial "0x$(openssl rand -hex 8)" -days "$days" \
        -extfile "$1.ext" -out "$1.crt" 2> /dev/null
    rm "$1.csr" "$1.ext"
}
conf() { # name, subject
    leaf "$NODE/conf" ca "$2" ""
    cat > "$k/$1" << END
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: $(base64 -w0 < "$k/pki/ca.crt")
    server: https://127.0.0.1:$apiserver
  name: kubernetes
kind: Config
users:
- name: user
  user:
    client-certificate-data: $(base64 -w0 < "$NODE/conf.crt")
    client-key-data: $(base64 -w0 < "$NODE/conf.key")
END
    chmod 600 "$k/$1"
    rm "$NODE/conf.crt" "$NODE/conf.key"
}
ca ca kubernetes; ca etcd/ca etcd-ca; ca front-proxy-ca front-proxy-ca
own=DNS:localhost,DNS:cp1,IP:127.0.0.1
leaf "$k/pki/apiserver" ca /CN=kube-apiserver "DNS:kubernetes,$own"
leaf "$k/pki/apiserver-kubelet-client" ca /O=system:masters/CN=kube-apiserver-kubelet-client ""
leaf "$k/pki/apiserver-etcd-client" etcd/ca /O=system:masters/CN=kube-apiserver-etcd-client ""
leaf "$k/pki/front-proxy-client" front-proxy-ca /CN=front-proxy-client ""
for name in server peer; do leaf "$k/pki/etcd/$name" etcd/ca /CN=cp1 "$own"; done
leaf "$k/pki/etcd/healthcheck-client" etcd/ca /O=system:masters/CN=kube-etcd-healthcheck-client ""
conf admin.conf /O=system:masters/CN=kubernetes-admin
conf controller-manager.conf /CN=system:kube-controller-manager
conf scheduler.conf /CN=system:kube-scheduler
leaf "$NODE/kubelet/pki/kubelet" ca /CN=cp1 "$own"
printf 'kind: KubeletConfiguration\nport: %s\nrotateCertificates: true\n' "$kubelet" > "$NODE/kubelet/config.yaml"
pod() { # component, then its flags
    component=$1
    shift
    {
        printf 'apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: kube-system\nspec:\n  containers:\n' "$component"
        printf '  - command:\n    - %s\n' "$component"
        for flag in "$@"; do echo "    - --$flag"; done
        printf '    name: %s\n' "$component"
    } > "$k/manifests/$component.yaml"
}
pod kube-apiserver secure-port="$apiserver" client-ca-file="$k/pki/ca.crt" tls-cert-file="$k/pki/apiserver.crt" \
    tls-private-key-file="$k/pki/apiserver.key" etcd-certfile="$k/pki/apiserver-etcd-client.crt" \
    kubelet-client-certificate="$k/pki/apiserver-kubelet-client.crt" proxy-client-cert-file="$k/pki/front-proxy-client.crt"
pod kube-controller-manager secure-port="$controller" bind-address=127.0.0.1 kubeconfig="$k/controller-manager.conf"
pod kube-scheduler secure-port="$scheduler" bind-address=127.0.0.1 kubeconfig="$k/scheduler.conf"
pod etcd name=cp1 data-dir="$NODE/etcd" listen-client-urls="https://127.0.0.1:$etcd" advertise-client-urls="https://127.0.0.1:$etcd" \
    listen-peer-urls="https://127.0.0.1:$peer" initial-advertise-peer-urls="https://127.0.0.1:$peer" \
    initial-cluster="cp1=https://127.0.0.1:$peer" cert-file="$k/pki/etcd/server.crt" key-file="$k/pki/etcd/server.key" \
    client-cert-auth=true trusted-ca-file="$k/pki/etcd/ca.crt" peer-cert-file="$k/pki/etcd/peer.crt" \
    peer-key-file="$k/pki/etcd/peer.key" peer-client-cert-auth=true peer-trusted-ca-file="$k/pki/etcd/ca.crt"
