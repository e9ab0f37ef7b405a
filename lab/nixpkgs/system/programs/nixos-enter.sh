#!@bash@/bin/bash
