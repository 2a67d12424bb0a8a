"""Make an empty container in the emulator's account: make_container.py ACCOUNT_URL CONTAINER, the key in $DEMO_KEY."""

import os
import sys

from azure.storage.blob import ContainerClient

account_url, container = sys.argv[1:]
with ContainerClient(account_url, container, credential=os.environ["DEMO_KEY"], retry_total=3) as client:
    client.create_container()
