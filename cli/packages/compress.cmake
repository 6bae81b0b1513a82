# SPDX-License-Identifier: Apache-2.0
# Man pages and changelogs are compressed in Debian's packages.
file(GLOB_RECURSE pages "${CPACK_TEMPORARY_DIRECTORY}/*/share/man/man*/*" "${CPACK_TEMPORARY_DIRECTORY}/*/changelog.Debian")
foreach(page IN LISTS pages)
  if(NOT page MATCHES "\\.gz$")
    execute_process(COMMAND gzip -9nf "${page}" COMMAND_ERROR_IS_FATAL ANY)
  endif()
endforeach()
