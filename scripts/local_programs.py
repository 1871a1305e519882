"""Programs of one's own on loopback, for the scripts that measure and compare: free ports, what /proc tells of a process,
waiting until one serves."""
import os, random, socket, sys, time


def free_port():
    """Below the ports that the kernel gives to clients: none of theirs takes it before the program listens there."""
    while True:
        port = random.SystemRandom().randrange(15000, 30000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def cpu(pid):
    """Seconds of processor time."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid, key="RssAnon"):
    """Bytes of what /proc/PID/status calls `key`: VmRSS is resident now, VmHWM at most, RssAnon anonymous."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0


def wait_ready(port, process=None, path="/-/ready", seconds=120, name="the program"):
    """Seconds until it answers 200; ends this script where it does not."""
    began = time.monotonic()
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
                if b" 200 " in s.recv(100):
                    return time.monotonic() - began
        except OSError:
            pass
        if process is not None and process.poll() is not None:
            sys.exit(f"{name} ended with {process.returncode}")
        if time.monotonic() - began > seconds:
            sys.exit(f"{name} is not ready after {seconds} s")
        time.sleep(0.01)
