"""Fetches a torrent from one peer with libtorrent, and exits when all of it is there.

usage: libtorrent_fetch.py TORRENT DIRECTORY HOST PORT
"""

import sys

import libtorrent as lt

torrent, directory, host, port = sys.argv[1:]
alone = {"enable_dht": False, "enable_lsd": False, "enable_natpmp": False, "enable_upnp": False}
session = lt.session({**alone, "listen_interfaces": "127.0.0.1:0", "allow_multiple_connections_per_ip": True})
parameters = lt.add_torrent_params()
parameters.ti = lt.torrent_info(torrent)
parameters.save_path = directory
handle = session.add_torrent(parameters)
while handle.status().state in (lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data):
    session.wait_for_alert(100)
    session.pop_alerts()
handle.connect_peer((host, int(port)))
while not handle.status().is_seeding:
    session.wait_for_alert(100)
    session.pop_alerts()
