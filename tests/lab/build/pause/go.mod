module failoverd/lab/pause

go 1.26.0
