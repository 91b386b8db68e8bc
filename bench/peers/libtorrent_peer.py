"""A libtorrent peer for the benchmarks: seeds or fetches one torrent, told what to do by lines on stdin.

usage: libtorrent_peer.py make FILE TORRENT
       libtorrent_peer.py run TORRENT DIRECTORY ADDRESS PORT

`run` hashes what DIRECTORY holds already, prints {"event": "ready", ...} and waits for lines: `connect ADDRESS PORT`
(once for each peer) and `start`. It prints {"event": "complete"} when all pieces are verified, {"event": "durable"} once the
file is on the disk too, and ends with its stdin.
TCP only, plain text, no discovery: what is measured is the transfer. All else is libtorrent's default.
"""

import json
import os
import sys
import threading

import libtorrent as lt

SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "allow_multiple_connections_per_ip": True,
    "in_enc_policy": int(lt.enc_policy.pe_disabled),
    "out_enc_policy": int(lt.enc_policy.pe_disabled),
    "alert_mask": lt.alert.category_t.status_notification,
}


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def make(path, torrent):
    files = lt.file_storage()
    lt.add_files(files, path)
    # v1 hashes each piece once; a hybrid torrent would hash everything twice
    creator = lt.create_torrent(files, 0, lt.create_torrent.v1_only)
    lt.set_piece_hashes(creator, path.rsplit("/", 1)[0])
    with open(torrent, "wb") as out:
        out.write(lt.bencode(creator.generate()))


def wait_until_checked(session, handle):
    while handle.status().state in (lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data):
        session.wait_for_alert(100)
        session.pop_alerts()


def report_completion(session, handle, path):
    while not handle.status().is_seeding:
        session.wait_for_alert(1000)
        session.pop_alerts()
    say("complete")
    file = os.open(path, os.O_RDONLY)
    os.fdatasync(file)
    say("durable")


def run(torrent, directory, address, port):
    session = lt.session({**SETTINGS, "listen_interfaces": f"{address}:{port}"})
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = directory
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    handle = session.add_torrent(parameters)
    wait_until_checked(session, handle)
    say("ready", version=lt.__version__, seeding=handle.status().is_seeding)
    path = os.path.join(directory, parameters.ti.name())
    peers = []
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "connect":
            peers.append((arguments[0], int(arguments[1])))
        elif command == "start":
            threading.Thread(target=report_completion, args=(session, handle, path), daemon=True).start()
            for peer in peers:
                handle.connect_peer(peer)


if sys.argv[1] == "make":
    make(*sys.argv[2:4])
else:
    run(*sys.argv[2:6])
