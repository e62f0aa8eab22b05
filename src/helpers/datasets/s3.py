"""What a public S3 bucket holds: ListObjectsV2, anonymously over HTTPS, page after page."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Listing:
    """Objects below a prefix, in the order of their keys, and what a delimiter has folded together.

    Attributes
    ----------
    sizes : dict
        Bytes of each object, by its key.
    hashes : dict
        By key, in the form of `helpers.datasets.hashes.kind`: MD5 where the ETag is one (an object that was put in
        one piece), else the length.
    folders : tuple of str
        Common prefixes.
    """

    sizes: dict[str, int]
    hashes: dict[str, str]
    folders: tuple[str, ...]


def list_objects(
    bucket: str, prefix: str, delimiter: str = "", *, tries: int = 4, delay: float = 1.0, timeout: float = 60.0
) -> Listing:
    """List the objects of a bucket whose keys begin with `prefix`.

    Parameters
    ----------
    bucket : str
        Its address, ``https://NAME.s3.amazonaws.com``.
    prefix, delimiter : str
        As S3 has them: with the delimiter ``/``, what lies in subfolders is folded into `Listing.folders`.
    tries, delay, timeout
        As in `helpers.datasets.fetch.fetch`.

    Raises
    ------
    ConnectionError
        The server is not reached, or does not answer as S3 does.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    again = Retry(
        total=tries - 1, backoff_factor=delay, status_forcelist=(408, 429, 500, 502, 503, 504), raise_on_status=False
    )
    sizes, hashes, folders, token = {}, {}, [], None
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=again))
        while True:
            query = {"list-type": "2", "prefix": prefix, "delimiter": delimiter, "continuation-token": token}
            try:
                query = {key: value for key, value in query.items() if value or key == "prefix"}
                response = session.get(f"{bucket}/", params=query, timeout=timeout)
                if response.status_code != 200:
                    raise ConnectionError(f"it answered with status {response.status_code}")
                page = ElementTree.fromstring(response.content)
                if page.tag.rpartition("}")[2] != "ListBucketResult":
                    raise ConnectionError(f"it answered with {page.tag!r}, no listing")
            except (requests.RequestException, ConnectionError, ElementTree.ParseError) as error:
                raise ConnectionError(
                    f"{bucket} did not list what begins with {prefix!r}: {error}. Check network and HTTPS_PROXY"
                ) from error
            for item in page.findall("{*}Contents"):
                key, size = item.findtext("{*}Key"), int(item.findtext("{*}Size"))
                if ".." in key.split("/") or not key.startswith(prefix):
                    raise ConnectionError(f"{bucket} listed {key!r} below {prefix!r}, where it cannot be")
                etag = (item.findtext("{*}ETag") or "").strip('"')
                sizes[key] = size
                hashes[key] = etag if re.fullmatch("[0-9a-f]{32}", etag) else f"size:{size}"
            folders += [item.text for item in page.findall("{*}CommonPrefixes/{*}Prefix")]
            following = page.findtext("{*}NextContinuationToken")
            if page.findtext("{*}IsTruncated") != "true":
                return Listing(sizes, hashes, tuple(folders))
            if not following or following == token:
                raise ConnectionError(f"{bucket} broke off its listing of {prefix!r} after {len(sizes)} keys")
            token = following
