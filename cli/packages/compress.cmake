# SPDX-License-Identifier: Apache-2.0
# Man pages and changelogs are compressed in Debian's packages.
file(GLOB_RECURSE files "${CPACK_TEMPORARY_DIRECTORY}/*")
foreach(file IN LISTS files)
  if(file MATCHES "/share/man/man[1-8]/[^/]+\\.[1-8]$|/changelog\\.Debian$")
    execute_process(COMMAND gzip -9nf "${file}" COMMAND_ERROR_IS_FATAL ANY)
  endif()
endforeach()
