# SPDX-License-Identifier: Apache-2.0
"""What the schema of DFXML says of the elements that snaptool writes.

Source: dfxml.xsd of https://github.com/dfxml-working-group/dfxml_schema; `error` came with 1.2.0.
"""

import re

SPACE = "{http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML}"
DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"

# What an element holds, in this order.
CHILDREN = {
    "dfxml": "metadata creator source volume fileobject",
    "creator": "program version build_environment execution_environment library",
    "execution_environment": "os_sysname os_release os_version host arch command_line uid username start_time",
    "source": "image_filename",
    "volume": "byte_runs partition_offset sector_size block_size ftype ftype_str block_count first_block last_block allocated_only fileobject error",
    "fileobject": "parent_object filename partition id name_type filesize unalloc alloc used unused orphan compressed inode meta_type mode nlink uid gid"
                  " mtime ctime atime crtime seq dtime bkup_time link_target libmagic byte_runs hashdigest",
    "byte_runs": "byte_run",
    "byte_run": "hashdigest",
}
REPEATED = {"image_filename", "volume", "fileobject", "byte_run", "hashdigest", "error", "library"}
REQUIRED = {"dfxml": {"metadata", "source"}}
ATTRIBUTES = {"dfxml": "version", "volume": "offset", "byte_run": "file_offset fs_offset img_offset len fill", "hashdigest": "type"}
POSITIVE = r"0*[1-9]\d*"
NUMBER = r"\d+"
VALUES = {
    **dict.fromkeys(("partition_offset", "sector_size", "block_size"), POSITIVE),
    **dict.fromkeys(("filesize", "inode", "mode", "nlink", "uid", "gid"), NUMBER),
    **dict.fromkeys(("mtime", "ctime", "atime", "crtime", "start_time"), r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?"),
    "alloc": "[01]",
    "name_type": "[-pcdbrlshwv]",
}
# Ranges and parts of them are written as they are found, before other elements.
FOREIGN_BETWEEN = {"dfxml", "volume"}


def assert_dfxml(test, root):
    """Without the elements and attributes of other namespaces, this is what the schema allows."""
    test.assertEqual(root.tag, SPACE + "dfxml")
    test.assertIn("version", root.attrib)
    for element in root.iter():
        if element.tag.startswith(SPACE):
            assert_element(test, element, element.tag.removeprefix(SPACE))


def assert_element(test, element, name):
    own = [child.tag.removeprefix(SPACE) for child in element if child.tag.startswith(SPACE)]
    if name == "metadata":
        test.assertTrue(all(child.tag.startswith(DUBLIN_CORE) for child in element))
        return
    order = CHILDREN.get(name, "").split()
    test.assertLessEqual(set(own), set(order), name)
    test.assertEqual(own, sorted(own, key=order.index), name)
    test.assertEqual([child for child in set(own) - REPEATED if own.count(child) > 1], [], name)
    test.assertLessEqual(REQUIRED.get(name, set()), set(own), name)
    if name not in FOREIGN_BETWEEN:
        test.assertTrue(all(child.tag.startswith(SPACE) for child in list(element)[:len(own)]), f"{name}: DFXML's elements come first")
    test.assertLessEqual({key for key in element.attrib if key[0] != "{"}, set(ATTRIBUTES.get(name, "").split()), name)
    if name in VALUES:
        test.assertRegex(element.text or "", re.compile(rf"\A{VALUES[name]}\Z"), name)
